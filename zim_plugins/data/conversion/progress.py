"""The progress bar of a conversion."""

from tqdm import tqdm

from zim_plugins.data.conversion.locks import Job, Outcome


class ConversionBar:
    """Progress on stderr: bytes of the input, from which the time left, with photographs and masks a second."""

    def __init__(self, total_bytes: int, shown: bool) -> None:
        self.bar = tqdm(total=total_bytes, unit="B", unit_scale=True, desc="converting", disable=not shown)
        self.images = self.masks = 0
        self.ticked_bytes = 0
        self.finished_bytes = 0

    def __enter__(self) -> "ConversionBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def tick(self, images: int, masks: int, read_bytes: int) -> None:
        """Photographs and masks converted, and bytes read, since the last call."""
        self.images, self.masks = self.images + images, self.masks + masks
        self.ticked_bytes += read_bytes
        seconds = max(1e-6, self.bar.format_dict["elapsed"] or 0.0)
        rates = f"{self.images / seconds:.2f} images/s, {self.masks / seconds:.1f} masks/s"
        self.bar.set_postfix_str(rates, refresh=False)
        self._show()

    def unit_done(self, job: Job, outcome: Outcome, *, ticked: bool) -> None:
        """A shard, or an image, is through; its photographs are counted now unless `tick` was told of them."""
        self.finished_bytes += job.input_bytes()
        if outcome[0] == "converted" and not ticked:
            counts = outcome[1]
            self.tick(counts["images"], counts["mattes"] + counts["equal_to_mask"], 0)
        self._show()

    def _show(self) -> None:
        self.bar.update(max(self.finished_bytes, self.ticked_bytes) - self.bar.n)
