#!/usr/bin/env bash
# Build and run the image and docker-compose.yml for real, where no Docker engine or image registry is at hand:
# needs root, mount/network/cgroup namespaces and HAL_SHARED/tools/container-check.sh. Says so loudly where it cannot.
#   HAL_SHARED       folder with tools/ (default ../shared beside the project)
#   HAL_SKIP_REASON  file that takes the reason when the check was skipped
#   WORK, KEEP=1     state folder of the check and whether it stays for a quicker next run
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
check=${HAL_SHARED:-$project/../shared}/tools/container-check.sh

skip() {
  printf '\n!!!!! CONTAINER CHECK SKIPPED: %s\n!!!!! The image and docker-compose.yml were NOT built or run.\n\n' "$1"
  [ -z "${HAL_SKIP_REASON:-}" ] || printf 'container check: %s\n' "$1" >"$HAL_SKIP_REASON"
  exit 0
}

[ -x "$check" ] || skip "HAL_SHARED/tools/container-check.sh is not there"
[ "$(id -u)" = 0 ] || skip "it needs root"
unshare -m -C -n true 2>/dev/null || skip "this machine gives no namespaces (unshare -m -C -n fails)"

# The check copies the whole folder: hand it what git would, without virtual environments, data sets and runs.
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git -C "$project" ls-files -z --cached --others --exclude-standard |
  tar -C "$project" --null --files-from=- --ignore-failed-read -cf - | tar -C "$tree" -xf -
"$check" "$tree" hal 8000 /health/ready
