#!/usr/bin/env bash
# Gets the images that those of the project begin from, which is a minute of downloads: `.ci/run` does it beside other
# work. Does nothing without an engine.
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=checks.sh
source "$root/tests/docker/checks.sh"
docker info >/dev/null 2>&1 || exit 0
base_images "$(bases "$root"/Dockerfile.*)" busybox:latest
