"""ONNX Runtime's process: predicting alone, from the file that torch_engine.py exported; see worker.py."""

from pathlib import Path
from typing import Any

from worker import Call, Engine, Job, main


class OnnxEngine(Engine):
    packages = ("onnxruntime", "numpy")

    def load(self) -> None:
        import numpy as np
        import onnxruntime

        self.np, self.onnxruntime = np, onnxruntime

    def build(self, job: Job) -> None:
        path = Path(job["folder"]) / "model.onnx"
        self.session = self.onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def prepare(self, x: Any, y: Any) -> tuple[Any, Any]:
        """(N, C, H, W), as the exported model takes them."""
        return self.np.ascontiguousarray(x.transpose(0, 3, 1, 2)), y

    def predict(self, x: Any, batch: int) -> Any:
        return self.np.concatenate([self._run(x[k : k + batch]) for k in range(0, len(x), batch)])

    def single_calls(self) -> dict[str, Call]:
        return {"run": self._run}

    def _run(self, x: Any) -> Any:
        return self.session.run(None, {"images": x.astype(self.np.float32)})[0]


if __name__ == "__main__":
    main(OnnxEngine())
