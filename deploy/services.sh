#!/bin/sh
# What the tests need from Debian beside Python: Java and Maven for Kafka, a compiler and libnuma for vLLM's CPU build,
# Prometheus for the alert rules (promtool) and the kill queries. Installs what is missing when run as root on Debian, else says what to install.
# PYTHON names the interpreter whose headers vLLM's compiled kernels need (default: python3). Never needed by make demo.
set -eu

missing=""
need() { # need PACKAGE COMMAND...: the package is wanted when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has_java() {
    major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ]
}

has_libnuma() {
    # ldconfig lives in /sbin, which is not on everybody's PATH.
    PATH=$PATH:/sbin:/usr/sbin ldconfig -p | grep -q 'libnuma\.so\.1'
}

has_headers() { # headers are asked for only where the interpreter could come from Debian
    "${PYTHON:-python3}" -c 'import os, sysconfig; raise SystemExit(
        not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))'
}

need default-jre-headless has_java
need maven command -v mvn
need g++ command -v g++
need libnuma1 has_libnuma
need python3-dev has_headers
need prometheus command -v promtool

[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "services: the tests need these Debian packages:$missing (as root: apt-get install$missing)" >&2
    exit 1
fi

echo "services: installing$missing (130 MB to fetch when all are missing)"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null

# The tests start a server of their own: where the package has just started a server, stop it again.
case $missing in
*prometheus*) [ ! -d /run/systemd/system ] || systemctl disable --now --quiet prometheus ;;
esac
