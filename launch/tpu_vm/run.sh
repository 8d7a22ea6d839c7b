#!/usr/bin/env bash
# Runs launch/train.py on all hosts of the TPU. Exit status 0: the last step is taken; else it goes on when started
# again (75 says so where gcloud hands the hosts' status on). Paths are those of the hosts, under MOUNT.
#
#     launch/tpu_vm/run.sh --config=configs/microseismic_4096.py --workdir=/mnt/seisjax/runs/large
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source launch/tpu_vm/settings.sh

# Each host asks its metadata server which it is, and where the first one is: then the run names a host that is absent.
read -r -d '' place <<'END' || true
set -e
cd seisjax
source launch/environment.sh
about() {
    curl -sf -H 'Metadata-Flavor: Google' "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}
hosts=$(about worker-network-endpoints)
number=$(about agent-worker-number)
first=${hosts%%,*}
count=$(tr ',' '\n' <<<"$hosts" | grep -c .)
END
flags=$(printf ' %q' "$@")
everywhere "$place
exec .venv/bin/python launch/train.py$flags --coordinator_address=\"\${first##*:}:8476\" --num_processes=\"\$count\" \
--process_id=\"\$number\" --start_timeout=600 --stopped_status=75"
