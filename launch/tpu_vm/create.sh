#!/usr/bin/env bash
# Asks for the TPU of settings.sh, waits until it is there, and installs this checkout on all of its hosts.
#
#     SHARE=10.0.0.2:/share launch/tpu_vm/create.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source launch/tpu_vm/settings.sh

[[ -n $SHARE ]] || {
    say "error: SHARE is empty: all hosts need one folder for data and runs; give host:/path"
    exit 1
}

if [[ $(state) == NONE ]]; then
    gcloud compute tpus queued-resources create "$NAME" --node-id="$NAME" --zone="$ZONE" \
        --accelerator-type="$TYPE" --runtime-version="$RUNTIME" ${SPOT:+"$SPOT"}
fi
while now=$(state); [[ $now != ACTIVE ]]; do
    case $now in
        FAILED | SUSPENDING | SUSPENDED)
            say "error: the request $NAME is $now; delete it and ask again, as resume.sh does"
            exit 1
            ;;
    esac
    say "$NAME is $now"
    sleep "${WAIT_SECONDS:-30}"
done

say "installing on all hosts of $NAME"
git archive --format=tar.gz --output=/tmp/seisjax.tar.gz HEAD
gcloud compute tpus tpu-vm scp /tmp/seisjax.tar.gz "$NAME:" --zone="$ZONE" --worker=all
everywhere "set -e
    sudo apt-get -q update && sudo apt-get -q install -y nfs-common make python3.11 python3.11-venv
    sudo mkdir -p $MOUNT && (mountpoint -q $MOUNT || sudo mount -t nfs $SHARE $MOUNT)
    rm -rf seisjax && mkdir seisjax && tar -xzf seisjax.tar.gz -C seisjax && cd seisjax
    make .venv/installed-tpu"
