#!/bin/sh
# Install the real peers of `make test-peers` below .peers/, once: Prometheus and Alertmanager, those of this
# distribution and the newest of Debian, Phoenix, the Node.js SDK, an OpenTelemetry Collector, a Kafka broker.
#
#   install.sh            every peer of make test-peers
#   install.sh PEER ...   these only; mlflow, jaeger and tempo, of make test-backends, too
#
# Nothing is installed system-wide and nothing keeps running: Debian's packages are only
# unpacked, Phoenix has a virtual environment of its own, the npm packages come from the lock file, the Collector is
# built from the Go module proxy. What takes long to build is kept in ~/.cache/spanledger, for other checkouts too.
# Delete .peers/ to begin anew.
#
# To add a peer: a function install_NAME (a dash in the name becomes an underscore) and its name in `every`, or in
# `backends` if it is large or takes long to build.
set -eu

every="prometheus prometheus-newest phoenix node collector kafka"
backends="mlflow jaeger tempo"

here=$(cd "$(dirname "$0")" && pwd)
peers=${SPANLEDGER_PEERS:-$(cd "$here/../.." && pwd)/.peers}
phoenix_version=20.26.1
mlflow_version=3.17.2
jaeger_version=v1.76.0
tempo_version=v1.5.1-0.20241001135150-ed943d7a56b2
python=${PYTHON:-python3}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spanledger

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

install_prometheus() {
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
install_prometheus_newest() {
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

install_phoenix() {
    has phoenix "$phoenix_version" && return
    needs "$python" "Phoenix"
    rm -rf "$peers/phoenix"
    "$python" -m venv "$peers/phoenix" || fail "$python cannot make a virtual environment; install python3-venv"
    "$peers/phoenix/bin/pip" install --quiet --disable-pip-version-check "arize-phoenix==$phoenix_version" ||
        fail "pip could not install arize-phoenix $phoenix_version"
    done_with phoenix "$phoenix_version"
}

install_node() {
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

# The Collector is built by its own builder, from named versions; it takes ten minutes and 5 GB the first time. What
# was built is kept by the checksum of the manifest. Without Go the tests that need it are skipped.
install_collector() {
    manifest=$here/collector/manifest.yaml
    version=$(sed -n 's/^  version: //p' "$manifest")
    sum=$(cksum < "$manifest" | tr ' ' -)
    built=$cache/otelcol-$version-$sum
    if [ ! -x "$built" ]; then
        if ! command -v go >/dev/null 2>&1; then
            say "there is no Go (1.25 or newer) to build the Collector with: no Collector, its tests are skipped"
            return
        fi
        build_collector || fail "the Collector could not be built; GOPROXY is $(go env GOPROXY)"
    fi
    mkdir -p "$peers/collector"
    ln -sf "$built" "$peers/collector/otelcol"
    has collector "$version $sum" || done_with collector "$version $sum"
}

build_collector() {
    work=$built.build
    rm -rf "$work" && mkdir -p "$work"
    say "building the Collector $version with $(go version | cut -d' ' -f3); this takes some minutes the first time"
    GOBIN=$work/bin CGO_ENABLED=0 GOFLAGS=-buildvcs=false go install "go.opentelemetry.io/collector/cmd/builder@v$version" || return 1
    say "the builder is there; getting the modules of the Collector"
    (cd "$work" && bin/builder --skip-compilation --config="$manifest") || return 1
    say "compiling the Collector"
    # As the builder would do it, which is silent for minutes: a line for every hundred packages shows that it goes on.
    (cd "$work/source" && { CGO_ENABLED=0 go build -v -buildvcs=false -trimpath -ldflags='-s -w' -o otelcol . 2>&1 || echo "failed"; }) |
        awk '
            /^failed$/ { bad = 1; next }
            /^[a-z][^ ]*$/ { if (++count % 100 == 0) { print "peers: " count " packages compiled"; fflush() }; next }
            { print }
            END { exit bad }
        ' || return 1
    "$work/source/otelcol" --version >/dev/null || return 1
    # Renamed in one step: two checkouts may build at the same time.
    mv "$work/source/otelcol" "$built" && rm -rf "$work"
}

# A Kafka broker is a folder of jars from Maven Central; they are kept by the checksum of the list.
install_kafka() {
    pom=$here/kafka/pom.xml
    sum=$(cksum < "$pom" | tr ' ' -)
    jars=$cache/kafka-$sum
    if ! command -v java >/dev/null 2>&1 || ! command -v mvn >/dev/null 2>&1; then
        say "there is no Java (17 or newer) and Maven to get Kafka with: no Kafka, its tests are skipped"
        return
    fi
    if [ ! -d "$jars" ]; then
        rm -rf "$jars.new" && mkdir -p "$jars.new"
        # In a folder of its own: Maven would leave its traces beside the list.
        (cd "$jars.new" && mvn --batch-mode --quiet --file "$pom" dependency:copy-dependencies \
            -DoutputDirectory="$jars.new" -DincludeScope=runtime) || fail "Maven could not get what $pom names"
        mv "$jars.new" "$jars"
    fi
    mkdir -p "$peers/kafka"
    ln -sfn "$jars" "$peers/kafka/libs"
    has kafka "$sum" || done_with kafka "$sum"
}

install_mlflow() {
    has mlflow "$mlflow_version" && return
    needs "$python" "MLflow"
    rm -rf "$peers/mlflow"
    "$python" -m venv "$peers/mlflow" || fail "$python cannot make a virtual environment; install python3-venv"
    "$peers/mlflow/bin/pip" install --quiet --disable-pip-version-check "mlflow==$mlflow_version" ||
        fail "pip could not install mlflow $mlflow_version"
    done_with mlflow "$mlflow_version"
}

# Jaeger v2 is part of the module's versions 1. Its pages are no part of the module; the query API is all there.
install_jaeger() { install_module jaeger github.com/jaegertracing/jaeger "$jaeger_version" ./cmd/jaeger; }

# The checksums are those of Grafana's own go.sum, whose dependency this version is: not every mirror of the
# checksum database has them.
install_tempo() {
    install_module tempo github.com/grafana/tempo "$tempo_version" ./cmd/tempo \
        "h1:XMreZ1SPjLpd9zhql5FXKFYwAcgBzS2E2MOPx4n+FyY=" "h1:UKONJhBCxmL+0ri27VMledCVzZIJqnl6Ah24A5vCRzs="
}

# install_module PEER MODULE VERSION PACKAGE [SUM SUM_OF_GO_MOD]: build a program of a Go module, once for all checkouts.
# `go install` does not take modules with `replace` in them: they are built in a copy.
install_module() {
    peer=$1 module=$2 version=$3 package=$4 sums=${5:+"$2 $3 $5
$2 $3/go.mod ${6:-}"}
    built=$cache/$peer-$version
    if [ ! -x "$built" ]; then
        if ! command -v go >/dev/null 2>&1; then
            say "there is no Go (1.25 or newer) to build $peer with: no $peer, its tests are skipped"
            return
        fi
        say "building $peer $version with $(go version | cut -d' ' -f3); this takes some minutes the first time"
        work=$built.build
        rm -rf "$work" && mkdir -p "$work/get"
        printf 'module get\n\ngo 1.25\n' > "$work/get/go.mod"
        printf '%s\n' "$sums" > "$work/get/go.sum"
        found=$(cd "$work/get" && go mod download -json "$module@$version") ||
            fail "$module $version cannot be had; GOPROXY is $(go env GOPROXY)"
        cp -r "$(printf '%s\n' "$found" | sed -n 's/^.*"Dir": "\(.*\)",*$/\1/p')" "$work/source"
        chmod -R u+w "$work/source" && rm -rf "$work/source/vendor"
        (cd "$work/source" &&
            CGO_ENABLED=0 GOFLAGS='-p=2 -mod=readonly -buildvcs=false' \
                go build -trimpath -ldflags='-s -w' -o "$work/$peer" "$package") || fail "$peer could not be built"
        # Renamed in one step: two checkouts may build at the same time.
        mv "$work/$peer" "$built" && rm -rf "$work"
    fi
    mkdir -p "$peers/$peer"
    ln -sf "$built" "$peers/$peer/$peer"
    has "$peer" "$version" || done_with "$peer" "$version"
}

mkdir -p "$peers"
# shellcheck disable=SC2086 # one word for each peer
[ $# -gt 0 ] || set -- $every
for peer in "$@"; do
    case " $every $backends " in
        *" $peer "*) "install_$(printf '%s' "$peer" | tr - _)" ;;
        *) fail "unknown peer '$peer'; there are: $every $backends" ;;
    esac
done
