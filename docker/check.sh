#!/usr/bin/env bash
# Build and run the image and docker-compose.yml for real, where no Docker engine or image registry is at hand: real
# cells are classified through the published port, without API keys and with them, and the answers are looked at; then
# Compose reads every profile. Needs root, mount/network/cgroup namespaces, HAL_SHARED/tools/container-check.sh and
# 'hal' in .venv. Says so loudly where it cannot.
#   HAL_SHARED       folder with tools/ (default ../shared beside the project)
#   HAL_SKIP_REASON  file that takes the reason when the check was skipped
#   WORK, KEEP=1     state folder of the check and whether it stays for a quicker next run
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
check=${HAL_SHARED:-$project/../shared}/tools/container-check.sh
cells=(segmented-neutrophil-1.jpg eosinophil-1.jpg basophil-1.jpg)

skip() {
  printf '\n!!!!! CONTAINER CHECK SKIPPED: %s\n!!!!! The image and docker-compose.yml were NOT built or run.\n\n' "$1"
  [ -z "${HAL_SKIP_REASON:-}" ] || printf 'container check: %s\n' "$1" >"$HAL_SKIP_REASON"
  exit 0
}

[ -x "$check" ] || skip "HAL_SHARED/tools/container-check.sh is not there"
[ -x "$project/.venv/bin/hal" ] || skip ".venv has no hal to make keys with"
[ "$(id -u)" = 0 ] || skip "it needs root"
unshare -m -C -n true 2>/dev/null || skip "this machine gives no namespaces (unshare -m -C -n fails)"

# The check makes its base image of a Python of this machine: the newest of these.
for version in 3.14 3.13 3.12 3.11; do
  if "python$version" -c '' 2>/dev/null; then break; fi
done
export PYTHON_VERSION=$version PY=$version

state=$(mktemp -d)
export WORK=${WORK:-/var/tmp/ctr}
tidy() {
  rm -rf "$state"
  [ -n "${keep:-}" ] || rm -rf "$WORK"
}
keep=${KEEP:-}
trap tidy EXIT

# The check copies the whole folder: hand it what git would, without virtual environments, data sets and runs.
mkdir "$state/tree"
git -C "$project" ls-files -z --cached --others --exclude-standard |
  tar -C "$project" --null --files-from=- --ignore-failed-read -cf - | tar -C "$state/tree" -xf -

# The check asks one address of the service with curl; curl's own settings turn that question into cells.
ask() {
  for cell in "${cells[@]}"; do printf 'form = "file=@%s"\n' "$project/service/static/cells/$cell"; done >"$state/.curlrc"
  printf '%s\n' "output = \"$state/answer.json\"" "$@" >>"$state/.curlrc"
  rm -f "$state/answer.json"
  CURL_HOME=$state KEEP=1 "$check" "$state/tree" hal 8000 /classify
  python3 "$project/docker/check_answer.py" "$state/answer.json" "${cells[@]}"
}
ask

# With keys, as docs/deploy.md makes them.
key=$("$project/.venv/bin/hal" keys add --file "$state/tree/keys.json" --role classify --name analyser-1)
chgrp 10001 "$state/tree/keys.json"
HAL_KEYS=./keys.json COMPOSE_FILE=docker-compose.yml:docker/compose.keys.yml ask "header = \"X-API-Key: $key\""

# Compose itself came with the check (Debian 12 has none that knows the present format).
compose() {
  "$WORK/cfg/cli-plugins/docker-compose" --project-directory "$project" -f "$project/docker-compose.yml" "$@"
}
keys=(-f "$project/docker/compose.keys.yml")
tls=("${keys[@]}" -f "$project/docker/compose.tls.yml")
for profile in $(compose config --profiles); do
  compose --profile "$profile" config -q
  HAL_KEYS=/dev/null compose "${keys[@]}" --profile "$profile" config -q
  HAL_KEYS=/dev/null compose "${tls[@]}" --profile "$profile" config -q
  printf 'profile %s: taken by docker compose, without keys, with them and with TLS\n' "$profile"
done
