"""PyTorch's process: a plain training loop; see worker.py.

Variants: "nchw" (PyTorch's default layout), "channels_last" (images and weights), "compiled" (torch.compile, in the
default layout) and "compiled_channels_last".
"""

import time
from pathlib import Path
from typing import Any

from worker import Call, Engine, Job, main, model_config, weights


class TorchEngine(Engine):
    packages = ("torch", "numpy", "onnx", "onnxscript")

    def load(self) -> None:
        import torch

        self.torch = torch

    def build(self, job: Job) -> None:
        from torch_models import Classifier, Network

        self.channels_last = job["variant"].endswith("channels_last")
        self.compiled = job["variant"].startswith("compiled")
        self.network = Network(model_config(job), weights(job))
        if self.channels_last:
            self.network = self.network.to(memory_format=self.torch.channels_last)
        self.classifier = Classifier(self.network).eval()
        self.classify = self.torch.compile(self.classifier) if self.compiled else self.classifier

    def compile(self, job: Job) -> None:
        # The fused Adam is the fastest of PyTorch's own on a CPU.
        self.optimizer = self.torch.optim.Adam(self.network.parameters(), lr=job["learning_rate"], eps=1e-7, fused=True)
        self.step = self.torch.compile(self._loss_and_hits) if self.compiled else self._loss_and_hits

    def prepare(self, x: Any, y: Any) -> tuple[Any, Any]:
        """(N, C, H, W); in memory with the channels last in the variants of that name, else in this order."""
        images = self.torch.from_numpy(x).permute(0, 3, 1, 2)
        layout = self.torch.channels_last if self.channels_last else self.torch.contiguous_format
        return images.contiguous(memory_format=layout), self.torch.from_numpy(y)

    def epochs(self, x: Any, y: Any, batch: int, count: int, shuffle: bool = True) -> tuple[list[float], list[float]]:
        torch, seconds, losses = self.torch, [], []
        self.network.train()
        for _ in range(count):
            started = time.perf_counter()
            order = torch.randperm(len(x)) if shuffle else torch.arange(len(x))
            total, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
            for rows in order.split(batch):
                loss, right = self.step(x[rows], y[rows])
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                total += loss.detach() * len(rows)
                hits += right
            mean, _ = total.item() / len(x), hits.item() / len(x)
            seconds.append(time.perf_counter() - started)
            losses.append(mean)
        return seconds, losses

    def _loss_and_hits(self, x: Any, y: Any) -> tuple[Any, Any]:
        logits = self.network(x.float())
        loss = self.torch.nn.functional.cross_entropy(logits, y) + self.network.penalty()
        return loss, (logits.argmax(1) == y).sum()

    def loss(self, x: Any, y: Any) -> float:
        self.network.eval()
        with self.torch.inference_mode():
            return float(self._loss_and_hits(x, y)[0])

    def predict(self, x: Any, batch: int) -> Any:
        self.network.eval()
        with self.torch.inference_mode():
            return self.torch.cat([self.classify(part) for part in x.split(batch)]).numpy()

    def single_calls(self) -> dict[str, Call]:
        self.network.eval()

        def call(x: Any) -> Any:
            with self.torch.inference_mode():
                return self.classify(x).numpy()

        return {"inference_mode": call}


def export(engine: TorchEngine, job: Job) -> dict[str, Any]:
    """Write the classifier for float32 images (N, C, H, W) of any N as model.onnx into the job's folder."""
    engine.load()
    engine.build({**job, "variant": "nchw"})
    torch = engine.torch
    shape = model_config(job)["layers"][0]["config"]["batch_shape"]
    sample = torch.zeros((2, shape[3], shape[1], shape[2]))
    torch.onnx.export(
        engine.classifier,
        (sample,),
        Path(job["folder"]) / "model.onnx",
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
    )
    return {}


if __name__ == "__main__":
    main(TorchEngine(), export=export)
