"""The pipeline function of the job; it travels to the cluster with the folder that it lies in."""

from typing import Any

import numpy as np
import numpy.typing as npt


async def embed(batch: dict[str, npt.NDArray[Any]], models: Any) -> dict[str, npt.NDArray[Any]]:  # noqa: ANN401
    """Rows of ``x`` through the model, scaled to length 1, beside the ids of their records."""
    answer = await models.embed.predict_async({"x": batch["x"].astype(np.float32)})
    lengths = np.linalg.norm(answer["y"], axis=1, keepdims=True)
    return {"record_id": batch["record_id"], "y": answer["y"] / np.maximum(lengths, 1e-9)}
