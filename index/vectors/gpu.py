"""The same index on an NVIDIA GPU, where the FAISS of `vlrlt[gpu]` finds one. It has not been run on a GPU yet."""

from typing import Any

from vlrlt.index.vectors.faiss_base import load_faiss
from vlrlt.index.vectors.plan import IndexPlan

GPU_MOST = 2048
"""Searches for more hits or in more lists, and those with a filter, go to the CPU: FAISS has no GPU code for them."""


def gpu_copy(index: Any, plan: IndexPlan) -> Any | None:  # noqa: ANN401  faiss has no types
    """A copy on the first GPU; None where there is none, or where FAISS has no GPU code for this kind.

    float16 vectors stay float16, SQ8 codes stay as they are; RaBitQ has no GPU code in FAISS 1.15, and cuVS none for
    either of the others. Hits are ranked again with their stored vectors, so that scores are those of the CPU.
    """
    faiss = load_faiss()
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus() or "RaBitQ" in plan.factory:
        return None
    options = faiss.GpuClonerOptions()
    options.use_cuvs = False
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index, options)
