from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from seisjax import sharding
from seisjax.collectives import Collective, collectives

HEADER = "HloModule jit_step, is_scheduled=true, num_partitions=8\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "%all-reduce = f32[] all-reduce(%x), channel_id=1, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add",
            Collective("all-reduce", 4, ((),), 4),
        ),
        (
            "ROOT %r.1 = (bf16[3,5]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/pred[7]{0}) all-reduce(%x, %y), "
            "replica_groups=[2,4]<=[4,2]T(1,0), use_global_device_ids=true",
            Collective("all-reduce", 37, ((3, 5), (7,)), 4),
        ),
        (
            "%g = f32[8,16]{1,0} all-gather(%x), replica_groups=mesh['data'=2,'space'=4] {'space'}, dimensions={0}",
            Collective("all-gather", 512, ((8, 16),), 4),
        ),
        (
            "%g = u8[6] all-gather(%x), replica_groups=mesh['a'=2,'b'=4] {'a','b':(1)2}",
            Collective("all-gather", 6, ((6,),), 4),
        ),
        ("%s = s4[5]{0} reduce-scatter(%x), replica_groups={}", Collective("reduce-scatter", 3, ((5,),), 8)),
        (
            "%h = f8e4m3fn[1,4] collective-permute(%x), source_target_pairs={{1,0},{2,1},{4,3}}",
            Collective("collective-permute", 4, ((1, 4),), 3),
        ),
        (
            "%gs = (f32[2]{0}, f32[8]{0}) all-gather-start(%x), replica_groups={{0,1,2,3}}",
            Collective("all-gather", 32, ((8,),), 4),
        ),
        (
            "%hs = ((f32[2], f32[3]), (f32[2], f32[3]), u32[], u32[]) collective-permute-start(%x, %y), "
            "source_target_pairs={{0,1}}",
            Collective("collective-permute", 20, ((2,), (3,)), 2),
        ),
        (
            "%ss = ((f32[8]{0}), f32[2]{0}) reduce-scatter-start(%x), replica_groups=[1,4]<=[4]",
            Collective("reduce-scatter", 8, ((2,),), 4),
        ),
        (
            "%rs = (f32[2], f32[3]) all-reduce-start(%x, %y), replica_groups={{0}}",
            Collective("all-reduce", 20, ((2,), (3,)), 1),
        ),
        ("%t = (f32[1], f32[1]) all-to-all(%x, %y)", Collective("all-to-all", 8, ((1,), (1,)), 0)),
    ],
)
def test_every_way_to_write_one_is_read(line: str, expected: Collective):
    assert collectives(f'{HEADER}  {line}, metadata={{op_name="jit(f)/psum"}}\n') == [expected]


@pytest.mark.parametrize(
    "line",
    [
        "%d = f32[8] all-gather-done(%gs)",
        "%d = f32[8] all-reduce-done((f32[8]) %rs)",
        "%f = f32[8] fusion(%all-reduce.1, %all-gather.2), kind=kLoop, calls=%all-reduce_fusion",
        '%c = f32[8] copy(%x), metadata={op_name="jit(f)/x = y all-reduce(z"}',
    ],
)
def test_what_is_none_is_not_counted(line: str):
    assert collectives(f"{HEADER}  {line}\n") == []


def _compiled(function, outs) -> list[Collective]:
    mesh = sharding.make_mesh(2, 4)
    mapped = jax.shard_map(function, mesh=mesh, in_specs=P("data", "space"), out_specs=outs, check_vma=False)
    return collectives(jax.jit(mapped).lower(jnp.zeros((8, 16))).compile().as_text() or "")


@pytest.mark.parametrize(
    ("function", "outs", "expected"),
    [
        (partial(jax.lax.psum, axis_name="data"), P(None, "space"), Collective("all-reduce", 64, ((4, 4),), 2)),
        (partial(jax.lax.psum, axis_name=("data", "space")), P(), Collective("all-reduce", 64, ((4, 4),), 8)),
        (partial(jax.lax.all_gather, axis_name="space"), P("data"), Collective("all-gather", 256, ((4, 4, 4),), 4)),
        (
            partial(jax.lax.ppermute, axis_name="space", perm=[(0, 1), (1, 2)]),
            P("data", "space"),
            Collective("collective-permute", 64, ((4, 4),), 3),
        ),
    ],
)
def test_what_the_compiler_writes_is_read(function, outs, expected: Collective):
    assert _compiled(function, outs) == [expected]


def test_a_loop_counts_once():
    def three_sums(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 3, lambda _, y: jax.lax.psum(jnp.sin(y), "data"), x)

    assert [found.kind for found in _compiled(three_sums, P(None, "space"))] == ["all-reduce"]
