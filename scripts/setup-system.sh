#!/bin/sh
# Installs the Debian packages that the tests need and pip cannot bring: Chromium, for the tests of the
# HTML report, compilers and emulators of ARM and RISC-V microcontrollers, for the tests of the generated C
# on boards (two gigabytes), and Verilator and SystemC, for the tests of the learning engine. Safe to run again;
# without root or apt-get it says what to install by hand and ends well, for those tests are skipped where a
# tool is missing.
set -u

packages=""
tests=""

# want <command or header> <package> <the tests that need it>
want() {
    command -v "$1" >/dev/null 2>&1 && return
    [ -e "$1" ] && return
    packages="${packages:+$packages }$2"
    case "$tests" in *"$3"*) ;; *) tests="${tests:+$tests, and }$3" ;; esac
}

want chromium chromium "the tests of the HTML report in a browser"
want arm-none-eabi-gcc gcc-arm-none-eabi "the tests of C programs on emulated boards"
want qemu-system-arm qemu-system-arm "the tests of C programs on emulated boards"
want riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf "the tests of C programs on emulated boards"
want qemu-system-riscv32 qemu-system-misc "the tests of C programs on emulated boards"
want verilator verilator "the tests of the learning engine in simulation"
want clang clang "the tests of the generated C with a second compiler"
want avr-gcc "gcc-avr avr-libc" "the tests of the firmware forms"
want simavr simavr "the tests of the firmware forms"
want arduino-builder "arduino-builder arduino-core-avr" "the tests of the firmware forms"
want s390x-linux-gnu-gcc "gcc-s390x-linux-gnu libc6-dev-s390x-cross" "the tests of the firmware forms"
want qemu-s390x qemu-user "the tests of the firmware forms"
want cmake cmake "the tests of the firmware forms"
want wasm-ld lld "the tests of the firmware forms"
want /usr/include/systemc libsystemc-dev "the tests of the SystemC model"
want valgrind valgrind "a test of the SystemC model"

skip() {
    echo "setup-system: skipped ($1); $tests need: $packages"
    exit 0
}

[ -n "$packages" ] || exit 0
command -v apt-get >/dev/null 2>&1 || skip "no apt-get"
[ "$(id -u)" -eq 0 ] || skip "not root"

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp) || skip "no temporary file"
trap 'rm -f "$log"' EXIT

install() {
    # shellcheck disable=SC2086  # a list of package names
    apt-get install -o DPkg::Lock::Timeout=120 --yes --quiet --no-install-recommends $packages </dev/null >"$log" 2>&1
}

# The package lists may be missing or old: they are fetched only if the first try fails.
if ! install; then
    apt-get update --quiet </dev/null >"$log" 2>&1 && install || skip "apt-get: $(tail -n 1 "$log")"
fi
echo "setup-system: installed $packages"
