#!/usr/bin/env bash
# One run in several processes of this machine, started again when one of them ends badly.
#
#     launch/local.sh -n 2 -d 4 launch/train.py --config=configs/quickstart.py --workdir=runs/quickstart
#
#   -n PROCESSES   how many (2)
#   -d DEVICES     virtual CPU devices of each, instead of what the machine has
#   -g             one GPU a process: process i sees the i-th
#   -r RESTARTS    start again at most so often (3)
#   -k SECONDS     what the others of a failed process are given to end before they are killed (10)
#   -l FOLDER      where the others' logs go (a new folder under TMPDIR)
#
# Process 0 speaks here; the others write FOLDER/process_<i>.log, whose last lines are shown when one fails. TERM and
# INT are handed on once, as TERM, to all processes, which write a checkpoint and end; then nothing is started again.
# Exit status: 0, or that of the process that ended badly first. The interpreter is PYTHON (python). Bash 3.2 or newer.
set -euo pipefail

usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" >&2
    exit "$1"
}

say() { echo "local.sh: $*" >&2; }

count=2 devices="" gpus="" restarts=3 grace=10 logs=""
while getopts ":n:d:gr:k:l:h" flag; do
    case $flag in
        n) count=$OPTARG ;;
        d) devices=$OPTARG ;;
        g) gpus=1 ;;
        r) restarts=$OPTARG ;;
        k) grace=$OPTARG ;;
        l) logs=$OPTARG ;;
        h) usage 0 ;;
        *) usage 2 ;;
    esac
done
shift $((OPTIND - 1))
[[ $# -gt 0 ]] || usage 2
for number in "$count" "$restarts" "$grace" "${devices:-1}"; do
    [[ $number =~ ^[0-9]+$ ]] || { say "error: '$number' is no number; see -h"; exit 2; }
done
[[ $count -gt 0 ]] || { say "error: -n 0: give at least one process"; exit 2; }

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
python=${PYTHON:-python}
if [[ -z $logs ]]; then logs=$(mktemp -d "${TMPDIR:-/tmp}/seisjax-logs.XXXXXX"); fi
mkdir -p "$logs"
if [[ -n $devices ]]; then export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=$devices; fi
IFS=, read -r -a visible <<<"${CUDA_VISIBLE_DEVICES:-}"

pids=()
stopping=0
signal_all() { for pid in $(jobs -rp); do kill -s "$1" "$pid" 2>/dev/null || true; done; }
stop() {
    [[ $stopping -eq 0 ]] || return 0
    stopping=1
    say "stopping: all processes are told to"
    signal_all TERM
}
trap stop TERM INT

start_all() {
    local port i
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
    pids=()
    for ((i = 0; i < count; i++)); do
        local place=("--coordinator_address=localhost:$port" "--num_processes=$count" "--process_id=$i")
        (
            if [[ -n $gpus ]]; then export CUDA_VISIBLE_DEVICES=${visible[i]:-$i}; fi
            if [[ $i -gt 0 ]]; then exec >>"$logs/process_$i.log" 2>&1; fi
            exec "$python" "$@" "${place[@]}"
        ) &
        pids+=($!)
    done
}

# Waits until all have ended; `status` is 0 or that of the first that ended badly, whose others are ended with it.
wait_all() {
    local deadline="" running one i
    local seen=()
    status=0
    while :; do
        running=" $(jobs -rp | tr '\n' ' ') "
        for ((i = 0; i < count; i++)); do
            if [[ -n ${seen[i]:-} || $running == *" ${pids[i]} "* ]]; then continue; fi
            seen[i]=1 one=0
            wait "${pids[i]}" || one=$?
            if [[ $one -eq 0 || $status -ne 0 ]]; then continue; fi
            status=$one
            # Told to stop, a process ends when its checkpoint is written: the others of one that did are near it.
            deadline=$((SECONDS + (stopping ? 3 * grace : grace)))
            say "process $i of $count ended with status $one"
            if [[ $stopping -eq 0 && $i -gt 0 ]]; then tail -n 5 "$logs/process_$i.log" | sed "s/^/[$i] /" >&2; fi
            if [[ $stopping -eq 0 ]]; then
                say "the others are told to end, and killed after $grace s"
                signal_all TERM
            fi
        done
        if [[ $running == "  " || $running == " " ]]; then return; fi
        if [[ -n $deadline && $SECONDS -gt $deadline ]]; then
            signal_all KILL
            deadline=$((SECONDS + grace))
        fi
        sleep 0.2
    done
}

say "$count processes; logs of all but process 0 in $logs"
for ((try = 0; ; try++)); do
    start_all "$@"
    if [[ $stopping -ne 0 ]]; then signal_all TERM; fi
    wait_all
    if [[ $status -eq 0 || $stopping -ne 0 ]]; then exit "$status"; fi
    if [[ $try -ge $restarts ]]; then
        say "error: gave up after $restarts restarts; the last ended with status $status"
        exit "$status"
    fi
    say "starting again ($((try + 1)) of $restarts)"
done
