#!/usr/bin/env bash
# Fill the bundle twice: the second time fetches nothing. Arguments: repository, bundle.
set -euo pipefail
cd "$1"
export BUNDLE=$2 PATH="$1/.venv/bin:$PATH" ANSIBLE_CONFIG="$1/ansible.cfg"
mkdir -p "$BUNDLE" .cache/airgap-own
echo '{"model_type": "llama"}' >.cache/airgap-own/config.json
coproc hub { exec python molecule/bundle-default/hub.py; }
read -r address <&"${hub[0]}"
# shellcheck disable=SC2154 # bash names it after the coprocess
trap 'kill "$hub_PID"' EXIT
stage=(ansible-playbook -i molecule/bundle-default/inventory playbooks/stage.yml -e "bundle_hub_url=$address"
  -e "{\"bundle_weights_paths\": {\"/srv/models/own\": \"$PWD/.cache/airgap-own\"}}")
"${stage[@]}"
before=$(sha256sum "$BUNDLE/manifest.json")
"${stage[@]}" | tee "$BUNDLE.log"
grep -q 'changed=0' "$BUNDLE.log"
[ "$(sha256sum "$BUNDLE/manifest.json")" = "$before" ]
