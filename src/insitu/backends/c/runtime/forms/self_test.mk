# SPDX-License-Identifier: Apache-2.0
# make test     learns from recorded samples on this machine, and compares every state with the reference's
CC ?= gcc
CFLAGS ?= -O2
WARN := -std=c99 -Wall -Wextra -ffp-contract=off
SOURCES := test.c $(wildcard ../../src/*.c) $(wildcard ../../src/kernels/*.c)

.PHONY: test
test:
	$(CC) $(CFLAGS) $(WARN) -I. -I../../src $(SOURCES) -o self-test
	./self-test
