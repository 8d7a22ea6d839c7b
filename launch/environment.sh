# The environment that the launch scripts share: sourced, never run. What is already set is kept.
# Matmul precision and TF32 are left alone on purpose: they change results, and belong to the experiment.

# An abort inside JAX does not flush Python's buffers: without this the last lines, which say why, are lost.
export PYTHONUNBUFFERED=${PYTHONUNBUFFERED:-1}

# XLA has its own threads, and so has the reading of volumes; NumPy's, one set a reading thread, would be in the way.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}

# Compiled steps are kept in the home folder (see seisjax/runtime.py), which must be one that all machines share:
# in a run of several processes JAX lets process 0 alone write them. JAX_COMPILATION_CACHE_DIR moves them.

if [[ -e /dev/nvidia0 ]]; then
    # A window is as large as fits: JAX's default leaves a quarter of the GPU unused. NCCL needs some of the rest.
    export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}
    # Reduce gradients and exchange window borders while something else is computed.
    export XLA_FLAGS="--xla_gpu_enable_latency_hiding_scheduler=true ${XLA_FLAGS:-}"
    # One line where a link or a network card fails. Which card to use (NCCL_SOCKET_IFNAME) is the site's to say.
    export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
fi

# A process that is aborted because another died would first write tens of GB of memory to disk.
ulimit -c 0 || true
# One file a shard, and one connection a process.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
