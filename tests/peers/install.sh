#!/bin/sh
# Install the real peers of `make test-peers` below .peers/, once: Prometheus and Alertmanager, those of this
# distribution and the newest of Debian, Phoenix, the Node.js SDK.
#
# Nothing is installed system-wide and nothing keeps running: Debian's packages are only
# unpacked, Phoenix has a virtual environment of its own, the npm packages come from the lock file.
# Delete .peers/ to begin anew.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
peers=${SPANLEDGER_PEERS:-$(cd "$here/../.." && pwd)/.peers}
phoenix_version=20.26.1
python=${PYTHON:-python3}

say() { printf 'peers: %s\n' "$*"; }
fail() { printf 'peers: %s\n' "$*" >&2; exit 1; }
needs() { command -v "$1" >/dev/null 2>&1 || fail "'$1' is needed for $2; install it and run this again"; }

# A peer is there when its stamp names exactly what this script would install.
has() { [ -f "$peers/$1.stamp" ] && [ "$(cat "$peers/$1.stamp")" = "$2" ]; }
done_with() { printf '%s\n' "$2" > "$peers/$1.stamp"; say "$1 is ready"; }

# Debian's packages that a peer is unpacked from: the distribution's own, or those of a newer suite.
packages="prometheus prometheus-alertmanager"
newer_suite=forky
newer_packages="prometheus promtool prometheus-alertmanager"

# unpack PEER "PACKAGE ..." [APT OPTION ...]: download packages and unpack them, without installing anything.
unpack() {
    peer=$1 wanted=$2
    shift 2
    mkdir -p "$peers/$peer/download"
    # As root apt would fetch as its own user, who may not write here; the packages are signed either way.
    # shellcheck disable=SC2086 # one word for each package
    (cd "$peers/$peer/download" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" "$@" $wanted) || return 1
    for package in "$peers/$peer/download/"*.deb; do
        dpkg-deb --extract "$package" "$peers/$peer"
    done
    rm -r "$peers/$peer/download"
    # Debian's Alertmanager looks for its templates where it would be installed. A path of the same length leads to
    # where it is started instead.
    installed=/usr/share/prometheus/alertmanager
    LC_ALL=C sed -i "s#$installed#$(printf '%s' "$installed" | sed 's#..#./#g')#g" "$peers/$peer/usr/bin/prometheus-alertmanager"
    "$peers/$peer/usr/bin/prometheus" --version >/dev/null 2>&1
}

prometheus() {
    has prometheus "debian $packages, movable" && return
    needs apt-get "Debian's package of Prometheus"
    needs dpkg-deb "unpacking Debian's package of Prometheus"
    rm -rf "$peers/prometheus"
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq || fail "apt-get update failed: check the network and the sources of apt"
    elif ! apt-cache show prometheus >/dev/null 2>&1; then
        fail "apt does not know the package 'prometheus': run 'apt-get update' as root once, then this again"
    fi
    unpack prometheus "$packages" || fail "apt-get could not download '$packages', or what is in them does not run"
    done_with prometheus "debian $packages, movable"
}

# The newest Prometheus that Debian has runs on older releases too: it needs nothing but a C library. Its suite comes
# from where the machine gets its own packages. Without it the tests that ask for it are skipped.
prometheus_newest() {
    has prometheus-newest "$newer_suite $newer_packages, movable" && return
    needs apt-get "Debian's package of Prometheus"
    needs dpkg-deb "unpacking Debian's package of Prometheus"
    own=/etc/apt/sources.list.d/debian.sources
    if [ ! -f "$own" ]; then
        say "there is no $own to find the suite $newer_suite with: no newest Prometheus"
        return
    fi
    apt=$peers/prometheus-newest/apt
    rm -rf "$peers/prometheus-newest" && mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    # The first paragraph is the distribution itself; those of updates have no such suite.
    awk -v suite="$newer_suite" '/^Suites:/ { print "Suites: " suite; next } /^$/ { exit } { print }' "$own" > "$apt/own.sources"
    set -- -o Dir::Etc::sourcelist="$apt/own.sources" -o Dir::Etc::sourceparts="$apt/none" \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt" -o Acquire::Languages=none
    if apt-get update -qq -o APT::Sandbox::User="$(id -un)" "$@" && unpack prometheus-newest "$newer_packages" "$@"; then
        rm -r "$apt"
        done_with prometheus-newest "$newer_suite $newer_packages, movable"
    else
        rm -rf "$peers/prometheus-newest"
        say "the suite $newer_suite cannot be had, or does not run here: no newest Prometheus"
    fi
}

phoenix() {
    has phoenix "$phoenix_version" && return
    needs "$python" "Phoenix"
    rm -rf "$peers/phoenix"
    "$python" -m venv "$peers/phoenix" || fail "$python cannot make a virtual environment; install python3-venv"
    "$peers/phoenix/bin/pip" install --quiet --disable-pip-version-check "arize-phoenix==$phoenix_version" ||
        fail "pip could not install arize-phoenix $phoenix_version"
    done_with phoenix "$phoenix_version"
}

node_sdk() {
    lock=$(cksum < "$here/node/package-lock.json")
    has node "$lock" && return
    needs node "the Node.js SDK (version 20 or newer)"
    needs npm "the Node.js SDK"
    rm -rf "$peers/node" && mkdir -p "$peers/node"
    cp "$here/node/package.json" "$here/node/package-lock.json" "$peers/node/"
    (cd "$peers/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
        fail "npm could not install the packages of tests/peers/node/package-lock.json"
    done_with node "$lock"
}

mkdir -p "$peers"
[ $# -gt 0 ] || set -- prometheus prometheus-newest phoenix node
for peer in "$@"; do
    case $peer in
        prometheus | phoenix) "$peer" ;;
        prometheus-newest) prometheus_newest ;;
        node) node_sdk ;;
        *) fail "unknown peer '$peer'; there are prometheus, prometheus-newest, phoenix and node" ;;
    esac
done
