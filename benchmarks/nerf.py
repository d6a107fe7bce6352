"""Seconds an object takes in a trained NeRF: rendering, matting, prompting, accumulation; and a second object in it.

    python benchmarks/nerf.py CONFIG.yml --view IMG_4038.png --points "75,60" [--second "20,70"] [--out FILE.json]

CONFIG.yml is of a nerfacto run. Rendering (the field's samples of each training view) is done once for a scene, into a
cache that this program makes anew; the first and the second object are then segmented from it, as `ns-train sa3d-zim`
does. The machine should be idle; the threads are torch's. SA3D's README says two minutes an object on an RTX 3090,
rendering included, one pass: --passes 1 is the like of it.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from nerf_seg.field.scene import BoxedViews, Scene, domain_around, open_scene
from nerf_seg.segmentation.predictors import build_matter, reference_alpha
from nerf_seg.segmentation.reference_prompt import ReferencePrompt, reference_prompt
from nerf_seg.segmentation.segmenter import Segmenter, SegmenterConfig
from nerf_seg.segmentation.views import ViewCache
from zim_plugins.core import Predictor
from zim_plugins.evaluation.provenance import describe_process

SA3D_SECONDS, SA3D_SOURCE = 120.0, "SA3D's README: about 2 min an object, RTX 3090; published, not measured here"


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--view", required=True)
    parser.add_argument("--points", required=True)
    parser.add_argument("--second", help="clicks on another object of the same view; the first one again if left out")
    parser.add_argument("--matter", default="zim_tiny")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    record = measure(args)
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    scene = open_scene(args.config, args.device)
    predictor = build_matter(args.matter, args.device)
    options = SegmenterConfig(passes=args.passes)
    with tempfile.TemporaryDirectory() as folder:
        cached = ViewCache(scene.views["train"], Path(folder), "benchmark")
        start_s = time.perf_counter()
        views = [cached.view(index) for index in range(len(cached.names))]
        rendering_s = time.perf_counter() - start_s
        first, second = (
            segment(scene, cached, predictor, reference_prompt(view=args.view, points=points), options)
            for points in (args.points, args.second or args.points)
        )
    height, width = views[0].samples.size
    rays = sum(view.samples.size[0] * view.samples.size[1] for view in views)
    whole_s = rendering_s + first["seconds"]["all"]
    return {
        "what": "seconds by stage of one object in a trained NeRF, and of a second one from the same cache",
        "nerf": {"config": args.config.name, "views": len(views)},
        "picture": f"{width}x{height}",
        "samples_per_ray": views[0].samples.weights.shape[1],
        "model": args.matter,
        "passes": args.passes,
        **describe_process(args.device, packages=("nerfstudio",)),
        "rendering": {
            "seconds": rendering_s,
            "views_per_s": len(views) / rendering_s,
            "rays_per_s": rays / rendering_s,
        },
        "first_object": first,
        "second_object": second,
        "first_object_with_rendering_s": whole_s,
        "sa3d": {"seconds": SA3D_SECONDS, "source": SA3D_SOURCE, "times_as_long_here": whole_s / SA3D_SECONDS},
    }


def segment(
    scene: Scene, cached: ViewCache, predictor: Predictor, reference: ReferencePrompt, options: SegmenterConfig
) -> dict[str, Any]:
    """One object from rendered views; `views` is what reading them takes."""
    start_s = time.perf_counter()
    view = cached.view(reference.index(cached.names))
    alpha = reference_alpha(predictor, reference, view.name, view.image)
    domain = domain_around(view.samples, alpha)
    seconds = {"reference": time.perf_counter() - start_s}
    source = BoxedViews(cached, domain)
    grid = scene.new_grid(options.build_estimator(), domain=domain)
    segmenter = Segmenter(options, grid, predictor, reference, source.names)
    seconds |= segmenter.run(source)
    seconds["all"] = time.perf_counter() - start_s
    return {
        "seconds": seconds,
        "visits": len(segmenter.records),
        "accepted_visits": sum(record.accepted for record in segmenter.records),
        "visits_per_s": len(segmenter.records) / seconds["all"],
    }


if __name__ == "__main__":
    main()
