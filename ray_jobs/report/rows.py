"""What a report says of a run of rows: gates, the answers on the holdout, what matters for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as measured

from models.tabular import clustering
from models.tabular.metrics import METRICS
from ray_jobs.report import folds, tables
from ray_jobs.report.charts import GREY, MODELS, Chart, axis_label, evenly, layout, line_styles, numbers, plain
from ray_jobs.report.page import cells, chart, escape, number, section, table
from ray_jobs.report.run import Run

MOST_DOTS, MOST_COLUMNS, BINS = 2000, 25, 10

Floats = NDArray[np.float64]


def sentence(run: Run) -> str:
    """What the models do, HTML."""
    data = run.summary["data"]
    classes = data["classes"]
    if not data["targets"]:
        return f"Groups rows by {len(data['columns'])} columns; judged on {len(run.summary['folds']) - 1} folds."
    kinds = f", one of {len(classes)} classes" if classes else ""
    return (
        f"Answers <b>{escape(data['targets'][0])}</b>{kinds} from {len(data['columns'])} columns of a row; judged on "
        f"{len(run.summary['folds']) - 1} folds ({escape(run.summary['scheme'])}) and a holdout of "
        f"{run.summary['holdout']['rows']:,} rows."
    )


def leaderboard(run: Run) -> str:
    return tables.leaderboard(
        run, METRICS if run.summary["data"]["targets"] else {**clustering.METRICS, **clustering.FIGURES}
    )


def sections(run: Run) -> list[str]:
    """HTML sections, from the gates to the folds."""
    made = [_gates(run), *_clusters(run)]
    if run.summary["data"]["classes"]:
        made += [_classes(run), _confusion(run)]
    elif len(run.holdout) and run.summary["data"]["targets"]:
        made.append(_values(run))
    made += _importance(run)
    caption = f"{escape(axis_label(run))} on each fold's validation rows."
    made.append(section("folds", "Folds", caption, chart("fold-scores", folds.fold_scores(run), 340)))
    return made


def _clusters(run: Run) -> list[str]:
    """A picture of each winner's clusters, and what tells them apart."""
    made = []
    for place, (family, found) in enumerate(run.summary["clusters"].items()):
        codes = np.array(found["code"])
        x, y = np.array(found["x"]), np.array(found["y"])
        data = [
            {
                "type": "scatter",
                "mode": "markers",
                "name": _named(code),
                "x": numbers(x[codes == code]),
                "y": numbers(y[codes == code]),
                "marker": {"size": 5, "opacity": 0.7, "color": GREY if code < 0 else MODELS[code % len(MODELS)]},
                "hovertemplate": f"{_named(code)}<extra></extra>",
            }
            for code in np.unique(codes).tolist()
        ]
        drawn = {"data": data, "layout": layout(x="first principal component", y="second")}
        caption = (
            "Rows before the holdout in the space that distances are measured in, flattened to its two widest "
            "directions: what lies apart there is apart, what overlaps may not be. Below, each cluster's size and "
            "means; bold: more than a third above or below the mean of all."
        )
        title = f"Clusters of {family}"
        made.append(section(f"clusters-{place}", title, caption, chart(f"flat-{place}", drawn, 440), _profile(found)))
    return made


def _named(code: int) -> str:
    return "no cluster" if code < 0 else f"cluster {code}"


def _profile(found: dict[str, Any]) -> str:
    whole = found["means"]
    rows = []
    for each in found["profile"]:
        means = []
        for name, mean in each["means"].items():
            far = mean is not None and whole[name] is not None and abs(mean - whole[name]) > abs(whole[name]) / 3
            means.append(f"<b>{number(mean)}</b>" if far else number(mean))
        rows.append(f"<tr>{cells([_named(each['cluster']), format(each['rows'], ','), *means])}</tr>")
    rows.append(f"<tr>{cells(['all', '', *(number(mean) for mean in whole.values())])}</tr>")
    head = [f"<tr>{cells(['', 'rows', *map(escape, whole)], tag='th')}</tr>"]
    return table(head, rows, kind="tall")


def _gates(run: Run) -> str:
    rows = [
        f"<tr>{cells([*map(escape, (family, v['name'], v['rule'])), number(v['found']), _passed(v)], text=3)}</tr>"
        for family, verdicts in run.summary["gates"].items()
        for v in verdicts
    ]
    head = [f"<tr>{cells(['', 'figure', 'must be', 'found', ''], tag='th', text=3)}</tr>"]
    caption = "What a model must reach to be used, on the holdout, over the folds and as the exported file."
    return section("gates", "Gates", caption, table(head, rows)) if rows else ""


def _passed(verdict: dict[str, Any]) -> str:
    return "passed" if verdict["passed"] else "<b>failed</b>"


def _classes(run: Run) -> str:
    classes = [str(name) for name in run.summary["data"]["classes"]]
    two = len(classes) == 2
    parts = []
    if two:
        parts += [
            "<h3>How many are found, and how many false alarms that costs</h3>",
            chart("roc", _roc(run, classes[1]), 420),
        ]
    parts += [
        "<h3>Calibration</h3>",
        '<p class="caption">How often an answer was right, by how likely it was said to be; on the diagonal, '
        f"probabilities mean what they say. {_calibrated(run)}</p>",
        chart("calibration", _reliability(run, classes), 400),
    ]
    caption = "Every winner's answers on the holdout, from its exported file. No trial was chosen by these rows."
    return section("answers", "Answers on the holdout", caption, *parts)


def _calibrated(run: Run) -> str:
    kinds = [f"{escape(family)}: {escape(kind)}" for family, kind in run.summary["calibration"].items()]
    return f"Learnt of out-of-fold answers: {', '.join(kinds)}."


def _roc(run: Run, positive: str) -> Chart:
    styles, data = line_styles(run), []
    for family in run.families:
        own = run.holdout[run.holdout["model"] == family]
        truth = (own["truth"].astype(str) == positive).to_numpy()
        wrong, right, _ = measured.roc_curve(truth, own[f"probability of {positive}"])
        places = evenly(len(wrong), 500)
        area = number((run.entry(family)["holdout"] or {}).get("roc_auc"))
        data.append(_line(f"{family} ({area})", wrong[places], right[places], styles[family]))
    data.append(_line("by chance", np.array([0.0, 1.0]), np.array([0.0, 1.0]), {"color": GREY, "dash": "dot"}))
    said = plain(positive)
    return {"data": data, "layout": layout(x=f"share of the others answered {said}", y=f"share of {said} found")}


def _reliability(run: Run, classes: Sequence[str]) -> Chart:
    """Of two classes the probability of the second; of more that of the answer."""
    styles, data = line_styles(run), []
    for family in run.families:
        own = run.holdout[run.holdout["model"] == family]
        if len(classes) == 2:
            said = own[f"probability of {classes[1]}"].to_numpy(np.float64)
            right = own["truth"].astype(str) == classes[1]
        else:
            said = own[[f"probability of {name}" for name in classes]].max(axis=1).to_numpy(np.float64)
            right = own["truth"].astype(str) == own["predicted"].astype(str)
        x, y = _binned(said, np.asarray(right, np.float64))
        data.append({**_line(family, x, y, styles[family]), "mode": "lines+markers"})
    data.append(_line("as said", np.array([0.0, 1.0]), np.array([0.0, 1.0]), {"color": GREY, "dash": "dot"}))
    return {"data": data, "layout": layout(x="said", y="came true")}


def _binned(said: Floats, came: Floats) -> tuple[Floats, Floats]:
    """Means over bins that hold as many rows each; equal probabilities share a bin."""
    edges = np.unique(np.quantile(said, np.linspace(0, 1, BINS + 1)[1:-1]))
    place = np.searchsorted(edges, said)
    counts = np.bincount(place)
    filled = counts > 0
    sums = (np.bincount(place, weights=values)[filled] / counts[filled] for values in (said, came))
    x, y = sums
    return x, y


def _line(name: str, x: Floats, y: Floats, style: dict[str, Any]) -> dict[str, Any]:
    hover = "%{x:.4g}, %{y:.4g}"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plain(name),
        "x": numbers(x),
        "y": numbers(y),
        "line": style,
        "hovertemplate": hover,
    }


def _confusion(run: Run) -> str:
    own = run.holdout[run.holdout["model"] == run.family]
    names = [str(name) for name in run.summary["data"]["classes"]]
    counted = measured.confusion_matrix(own["truth"].astype(str), own["predicted"].astype(str), labels=names)
    rows = []
    for name, counts in zip(names, counted.tolist(), strict=True):
        found = [f"{n:,} <span class='quiet'>({n / max(1, sum(counts)):.0%})</span>" for n in counts]
        rows.append(f"<tr>{cells([f'<b>{escape(name)}</b>', *found])}</tr>")
    head = [f"<tr>{cells(['is', *(f'answered {escape(name)}' for name in names)], tag='th')}</tr>"]
    threshold = run.summary["threshold"][run.family]
    rule = f" {escape(names[1])} is answered from a probability of {threshold:.4g} on." if len(names) == 2 else ""
    caption = f"The holdout by what is and what {escape(run.family)} answered.{rule}"
    return section("confusion", "Right and wrong", caption, table(head, rows, kind="tall"))


def _values(run: Run) -> str:
    own = run.holdout[run.holdout["model"] == run.family]
    own = own.iloc[evenly(len(own), MOST_DOTS)]
    truth, predicted = own["truth"].to_numpy(np.float64), own["predicted"].to_numpy(np.float64)
    ends = np.array([min(truth.min(), predicted.min()), max(truth.max(), predicted.max())])
    style = line_styles(run)[run.family]
    dots = {**_line(run.family, truth, predicted, style), "mode": "markers", "marker": {"size": 4, "opacity": 0.5}}
    dots["marker"] |= {"color": style["color"]}
    figure = {
        "data": [dots, _line("equal", ends, ends, {"color": GREY, "dash": "dot"})],
        "layout": layout(x="truth", y="answer"),
    }
    caption = "Truth and answer of the exported file, a point for each row. No trial was chosen by these rows."
    return section("answers", "Answers on the holdout", caption, chart("answers-chart", figure, 460))


def _importance(run: Run) -> list[str]:
    parts = []
    for i, (family, costs) in enumerate(run.summary["importance"].items()):
        parts += [
            f"<h3>{escape(family)}</h3>",
            chart(f"costs-{i}", _bars(costs, axis_label(run)), 90 + 24 * min(len(costs), MOST_COLUMNS)),
        ]
        gains = run.summary["gains"].get(family)
        if gains:
            parts += [
                '<p class="caption">And by what the splits on a column gained in training, which favours columns of '
                "many values:</p>",
                chart(f"gains-{i}", _bars(gains, "share of the gain"), 90 + 24 * min(len(gains), MOST_COLUMNS)),
            ]
    caption = (
        "How much worse the answers on out-of-fold rows become when one column is shuffled among them: mean and "
        "standard deviation over folds. Columns that tell the same share it."
    )
    return [section("importance", "What matters", caption, *parts)] if parts else []


def _bars(found: dict[str, list[float]], label: str) -> Chart:
    ordered = sorted(found, key=lambda name: float(np.mean(found[name])))[-MOST_COLUMNS:]
    spread = [float(np.std(found[name], ddof=1)) if len(found[name]) > 1 else 0.0 for name in ordered]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [plain(name) for name in ordered],
        "x": numbers(np.mean(found[name]) for name in ordered),
        "error_x": {"type": "data", "array": numbers(spread), "color": GREY},
        "marker": {"color": "#0072B2"},
        "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
    }
    return {"data": [bars], "layout": layout(x=plain(label), yaxis={"type": "category"}, showlegend=False)}
