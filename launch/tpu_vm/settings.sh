# What the scripts of this folder share: set it here, or in the environment. Sourced, never run.

NAME=${NAME:-seisjax}                      # of the TPU and of the request for it
ZONE=${ZONE:-us-west4-a}
TYPE=${TYPE:-v5litepod-16}                 # 16 chips on 4 hosts
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
SPOT=${SPOT:---spot}                       # empty: on demand
# A shared folder for data and runs, host:/path of an NFS server (Filestore) in the TPU's network, and where it appears.
SHARE=${SHARE:-}
MOUNT=${MOUNT:-/mnt/seisjax}

say() { echo "$(basename "$0"): $*" >&2; }

state() {
    gcloud compute tpus queued-resources describe "$NAME" --zone="$ZONE" --format='value(state.state)' 2>/dev/null ||
        echo NONE
}

# On all hosts at once.
everywhere() { gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="$1"; }
