#!/usr/bin/env bash
# Keeps a run going on a TPU that may be taken away: creates the TPU, runs, and begins anew after a preemption, until
# the last step is taken. Takes the flags of run.sh; leave it running in tmux on a machine with gcloud.
#
#     export SHARE=10.0.0.2:/share
#     launch/tpu_vm/resume.sh --config=configs/microseismic_4096.py --workdir=/mnt/seisjax/runs/large
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source launch/tpu_vm/settings.sh

MAX_FAILURES=${MAX_FAILURES:-5} # in a row, with the TPU still there

failures=0
while :; do
    case $(state) in
        FAILED | SUSPENDING | SUSPENDED)
            say "$NAME was taken away; asking for another"
            gcloud compute tpus queued-resources delete "$NAME" --zone="$ZONE" --force --quiet
            continue
            ;;
    esac
    status=0
    { launch/tpu_vm/create.sh && launch/tpu_vm/run.sh "$@"; } || status=$?
    if [[ $status -eq 0 ]]; then
        say "the run is complete; deleting $NAME"
        gcloud compute tpus queued-resources delete "$NAME" --zone="$ZONE" --force --quiet
        exit 0
    fi
    sleep "${WAIT_SECONDS:-30}" # a preemption shows in the state only after a while
    case $(state) in
        ACTIVE) if [[ $status -ne 75 ]]; then failures=$((failures + 1)); fi ;;
        *) failures=0 ;;
    esac
    say "ended with status $status ($failures of $MAX_FAILURES failures in a row)"
    if [[ $failures -ge $MAX_FAILURES ]]; then
        say "error: gave up; $NAME still exists: see its hosts, or delete it"
        exit "$status"
    fi
done
