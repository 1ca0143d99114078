# SPDX-License-Identifier: Apache-2.0
# Of ports that are built by make: make USER_C_MODULES=/path/to/the/folder/above
@name@_FOLDER := $(USERMOD_DIR)
SRC_USERMOD_C += $(@name@_FOLDER)/mod_@name@.c
SRC_USERMOD_LIB_C += $(addprefix $(@name@_FOLDER)/, @sources@)
CFLAGS_USERMOD += -I$(@name@_FOLDER)/src -ffp-contract=off
