"""The model card of an exported network: what it is, what it was trained on, how good it is, and where it fails.

After Mitchell et al. (2019, arXiv 1810.03993), in the form that model hubs read: Markdown that begins with YAML
(https://huggingface.co/docs/hub/model-cards). It says nothing that is not in the file's metadata.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# What a card shows of a split's scores, beside all that begins with "event": name there, name here, decimals.
_SCORES = (("mean_iou", "mean IoU", 4), ("accuracy", "accuracy", 4), ("mean_f1", "mean F1", 4))
_EVENTS = ("event_precision", "event_recall", "event_f1", "false_alarms_per_hour", "onset_error_s")


def model_card(metadata: Mapping[str, Any], name: str) -> str:
    """The card, as Markdown, of a file of launch/export.py called `name` that holds `metadata`."""
    sections = (_title, _use, _input, _network, _training, _scores, _limits, _provenance)
    lines = [*_front_matter(metadata), ""]
    for section in sections:
        lines += [*section(metadata, name), ""]
    return "\n".join(lines)


def _front_matter(told: Mapping[str, Any]) -> Iterator[str]:
    """What hubs index; values are JSON, which is YAML."""
    yield "---"
    yield from _licence(told["licence"])
    yield "library_name: seisjax"
    yield "pipeline_tag: image-segmentation"
    yield "tags: [seismic, geophysics, segmentation, unet, jax, flax]"
    scores = told.get("scores") or {}
    if scores:
        yield "metrics: [mean_iou, accuracy, f1]"
        yield "model-index:"
        yield f"  - name: {json.dumps(told['run']['name'])}"
        yield "    results:"
    for split, result in scores.items():
        data = told.get("training", {}).get("volume", "")
        region = told["run"]["regions"].get(split, "")
        yield "      - task: {type: image-segmentation, name: seismic segmentation}"
        yield f"        dataset: {json.dumps({'name': f'{data}, {split}: {region}', 'type': data, 'split': split})}"
        yield "        metrics:"
        for kind, label, _ in _SCORES:
            kind_of_hub = {"mean_f1": "f1"}.get(kind, kind)
            yield f"          - {json.dumps({'type': kind_of_hub, 'name': label, 'value': result[kind]})}"
    yield "---"


def _licence(licence: str) -> Iterator[str]:
    if not licence:
        yield "license: unknown  # not stated by the maker; set it before you share the file"
    elif re.fullmatch(r"[A-Za-z0-9.+-]+", licence):
        yield f"license: {json.dumps(licence.lower())}"
    else:
        yield "license: other"
        yield f"license_name: {json.dumps(licence)}"


def _title(told: Mapping[str, Any], name: str) -> Iterator[str]:
    run = told["run"]
    classes = ", ".join(c["name"] for c in told["classes"])
    kind = "volumes" if sum(side > 1 for side in told["window"]) == 3 else "sections"
    yield f"# {run['name']}"
    yield ""
    yield f"A UNet that segments {kind} of seismic data into {len(told['classes'])} classes: {classes}."
    yield f"Made by seisjax; checkpoint {run['checkpoint']} of the run `{run['name']}`."
    yield ""
    yield f"Licence: {told['licence'] or '**not stated**: who shares this file has to say what it may be used for'}."


def _use(told: Mapping[str, Any], name: str) -> Iterator[str]:
    interval, axes = told["sampling_interval"], [axis["name"] for axis in told["axes"]]
    yield "## Use"
    yield ""
    yield "```python"
    yield "import numpy as np"
    yield "from seisjax.inference import load_artifact"
    yield ""
    yield f"model = load_artifact({json.dumps(name)})"
    yield 'array = np.load("amplitude.npy")  # raw amplitudes of any shape, NaN = no data'
    yield f"p = model.predict(array, sampling_interval={interval}, axes={tuple(axes)})  # (class, *array.shape)"
    yield "```"
    yield ""
    yield f"A whole volume: `python launch/predict.py --artifact={name} --input=VOLUME --output=prediction.zarr`."
    yield f"Training that begins here: `python launch/train.py --config=... --config.train.init_from={name}`."


def _input(told: Mapping[str, Any], name: str) -> Iterator[str]:
    norm = told["normalisation"]
    scope = {"training": "the training data", "window": "each window", "trace": "each trace"}[norm["scope"]]
    level = f"; levelled over {norm['agc']} samples first" if norm["agc"] else ""
    clip = f"; clipped at {norm['clip']:g} deviations" if norm["clip"] else ""
    numbers = f" (centre {norm['center']:.6g}, scale {norm['scale']:.6g})" if norm["scope"] == "training" else ""
    interval = told["sampling_interval"]
    yield "## Input and output"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| axes | {', '.join(axis['name'] for axis in told['axes'])} |"
    yield f"| sampling interval | {'unknown' if interval is None else f'{interval:.9g} ' + told['axes'][-1]['unit']} |"
    yield f"| amplitudes | raw{f', {unit}' if (unit := told['amplitude_unit']) else ''}; NaN where there is no data |"
    yield f"| normalisation (inside) | by the statistics of {scope}{numbers}{level}{clip} |"
    yield f"| window | {' x '.join(map(str, told['window']))} samples, overlapping by {100 * told['overlap']:g} % |"
    if told.get("neighbours"):
        yield f"| sections seen | the one that is predicted and {told['neighbours']} on either side |"
    yield f"| output | probabilities of {', '.join(c['name'] for c in told['classes'])} |"
    if told["label_scale"]:
        yield f"| labels | {told['label_scale']} times a probability |"
    yield f"| temperature (inside) | {told['temperature']:.4g} |"


def _network(told: Mapping[str, Any], name: str) -> Iterator[str]:
    model = told["run"]["config"]["model"]
    yield "## Network"
    yield ""
    options = ", ".join(f"{name} {value}" for name, value in model.items() if value not in ("", 0, "none"))
    yield "UNet (Ronneberger et al. 2015, arXiv 1505.04597)"
    yield f"with {told['parameters']:,} parameters, computing in {told['compute']}: {options.replace('_', ' ')}."


def _training(told: Mapping[str, Any], name: str) -> Iterator[str]:
    run, training = told["run"], told.get("training", {})
    yield "## Training"
    yield ""
    data, volumes = run["config"]["data"], [training.get("volume", "?"), *training.get("other_volumes", [])]
    labels = [data["labels"], *(data.get("mixture_labels") or [data["labels"]] * len(volumes[1:]))]
    fingerprints = [run["data_fingerprint"], *training.get("mixture_fingerprints", [])]
    fingerprints += [""] * (len(volumes) - len(fingerprints))  # older files have that of the first alone
    for number, (volume, label, known) in enumerate(zip(volumes, labels, fingerprints, strict=True)):
        what, print_ = "Mixed with" if number else "Data:", f", fingerprint `{known}`" if known else ""
        yield f"- {what} `{volume}`, labels `{label}`{print_}."
    for split, region in run["regions"].items():
        yield f"- Region of {split}: `{region}`."
    if training:
        devices = f"{len(training['devices'])} x {training['devices'][0]}"
        yield f"- {run['checkpoint']} steps of {training['batch_size']} windows, on {devices}."
    if init := training.get("init"):
        fresh = f"; {', '.join(init['fresh'])} began at random" if init["fresh"] else ""
        source = init["from"].rstrip("/").rpartition("/")[2]
        yield f"- Began with the parameters ({init['part']}) of `{source}`, checkpoint {init['checkpoint']}{fresh}."
    optimizer, loss = run["config"]["optimizer"], run["config"]["loss"]
    yield f"- Loss {loss['name']}; AdamW, peak rate {optimizer['learning_rate']:g}. All options are in the metadata."


def _scores(told: Mapping[str, Any], name: str) -> Iterator[str]:
    yield "## Scores"
    yield ""
    scores, classes = told.get("scores") or {}, [c["name"] for c in told["classes"]]
    if not scores:
        yield "None: this checkpoint had not been scored (`launch/evaluate.py`) when it was exported."
    for split, result in scores.items():
        yield f"Split `{split}`, {result['num_windows']} windows (validation chose the checkpoint; test did not):"
        yield ""
        yield "| | " + " | ".join([label for _, label, _ in _SCORES] + [f"IoU {each}" for each in classes]) + " |"
        yield "|---|" + "---|" * (len(_SCORES) + len(classes))
        for who, row in {"this network": result, **result.get("baselines", {})}.items():
            cells = [row[kind] for kind, _, _ in _SCORES] + list(row["iou_per_class"])
            yield f"| {who.replace('_', ' ')} | " + " | ".join("-" if x is None else f"{x:.4f}" for x in cells) + " |"
        yield ""
        if events := {kind: result[kind] for kind in _EVENTS if result.get(kind) is not None}:
            yield "; ".join(f"{kind.replace('_', ' ')} {value:.4g}" for kind, value in events.items()) + "."
            yield ""
        if calibration := result.get("calibration"):
            yield "Calibration: " + ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in calibration.items()) + "."
            yield ""


def _limits(told: Mapping[str, Any], name: str) -> Iterator[str]:
    unit, interval, norm = told["axes"][-1]["unit"], told["sampling_interval"], told["normalisation"]
    yield "## Limits"
    yield ""
    yield "- Scores are those of the regions above. Other surveys, processing or acquisition are another task:"
    yield "  score the network on a few lines of your own first. Adjacent lines are alike: look at the baselines too."
    if interval is not None:
        yield f"- It knows a sample every {interval:.9g} {unit}; other data are refused unless they are resampled."
    if norm["scope"] == "training":
        yield f"- It expects amplitudes near {norm['center']:.4g} with a spread of {norm['scale']:.4g}, as in training;"
        yield "  scale those of other surveys to that."
    yield "- It always answers with one of its classes, also where none is right. How sure it is was measured, if at"
    yield "  all, on the data above."
    if told["receptive_radius"] is None:
        yield "- What it says of a sample depends on the whole window around it."


def _provenance(told: Mapping[str, Any], name: str) -> Iterator[str]:
    versions, run = told["run"]["versions"], told["run"]
    launched = f", last launched {told['training']['launched']}" if "training" in told else ""
    yield "## Provenance"
    yield ""
    yield f"- seisjax {versions.get('seisjax')}, jax {versions.get('jax')}, commit `{run['git_commit']}`{launched}."
    yield f"- Weights `{run['weights']}`; function SHA-256 `{told['sha256']}`; runs on {', '.join(told['platforms'])}."
