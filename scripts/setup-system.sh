#!/bin/sh
# Installs the Debian packages that the tests need and pip cannot bring: Chromium, for the tests of the
# HTML report. Safe to run again; without root or apt-get it says what to install by hand and ends well,
# for those tests are skipped where Chromium is missing.
set -u

packages=""
command -v chromium >/dev/null 2>&1 || packages="$packages chromium"
packages="${packages# }"

skip() {
    echo "setup-system: skipped ($1); the tests of the HTML report in a browser need: $packages"
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
