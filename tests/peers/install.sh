#!/bin/sh
# Install the real peers of `make test-peers` below .peers/, once: Prometheus, Phoenix, the Node.js SDK.
#
# Nothing is installed system-wide and nothing keeps running: Debian's package of Prometheus is only
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

prometheus() {
    has prometheus debian && return
    needs apt-get "Debian's package of Prometheus"
    needs dpkg-deb "unpacking Debian's package of Prometheus"
    rm -rf "$peers/prometheus" && mkdir -p "$peers/prometheus/download"
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq || fail "apt-get update failed: check the network and the sources of apt"
    elif ! apt-cache show prometheus >/dev/null 2>&1; then
        fail "apt does not know the package 'prometheus': run 'apt-get update' as root once, then this again"
    fi
    # As root apt would fetch as its own user, who may not write here; the package is signed either way.
    (cd "$peers/prometheus/download" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" prometheus) ||
        fail "apt-get could not download the package 'prometheus'"
    dpkg-deb --extract "$peers/prometheus/download/"prometheus_*.deb "$peers/prometheus"
    rm -r "$peers/prometheus/download"
    "$peers/prometheus/usr/bin/prometheus" --version >/dev/null 2>&1 || fail "the unpacked prometheus does not run"
    done_with prometheus debian
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
[ $# -gt 0 ] || set -- prometheus phoenix node
for peer in "$@"; do
    case $peer in
        prometheus | phoenix) "$peer" ;;
        node) node_sdk ;;
        *) fail "unknown peer '$peer'; there are prometheus, phoenix and node" ;;
    esac
done
