"""The style sheet of a report, and the script that draws its charts and fills its choices."""

STYLE = """
:root { --ink: #1b2430; --soft: #5a6675; --line: #e1e5eb; --back: #f5f6f8; --card: #fff; --good: #00795a;
        --bad: #b34700; --blue: #0072b2; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--back); color: var(--ink);
       font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1260px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 6px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 0 0 4px; }
h3 { font-size: 16px; margin: 22px 0 2px; }
p { margin: 4px 0 10px; max-width: 100ch; }
a { color: var(--blue); text-decoration: none; } a:hover { text-decoration: underline; }
.kicker { color: var(--soft); font-size: 12px; letter-spacing: 0.09em; text-transform: uppercase; font-weight: 600; }
.lead { font-size: 17px; color: var(--soft); max-width: none; }
.verdict { background: var(--card); border: 1px solid var(--line); border-left: 6px solid var(--good);
           border-radius: 10px; padding: 16px 20px; margin: 18px 0; max-width: none;
           font-size: 18px; line-height: 1.45; }
.verdict.bad { border-left-color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 10px; margin: 0 0 18px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px; }
.tile b { display: block; font-size: 17px; font-weight: 650; font-variant-numeric: tabular-nums;
          overflow-wrap: anywhere; }
.tile span { color: var(--soft); font-size: 13px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 14px; margin: 0 0 16px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px;
          margin: 0 0 18px; }
.caption, .quiet { color: var(--soft); font-size: 14px; }
.quiet { font-style: italic; }
ul { margin: 6px 0; padding-left: 20px; } li { margin: 3px 0; }
.warn { background: #fff6ec; border-color: #f0cfa6; border-left: 6px solid var(--bad); }
.scroll { overflow-x: auto; margin: 10px 0; }
.tall { max-height: 480px; overflow-y: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: 6px 7px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th.group { text-align: center; border-bottom-width: 2px; }
td.text, th.text { text-align: left; } td.wrap { white-space: normal; min-width: 340px; }
tr.first td { background: #eef6fb; } tr.baseline td { color: #55606e; }
td b { color: var(--ink); font-weight: 700; }
.tag { font-size: 11px; color: var(--soft); border: 1px solid var(--line); border-radius: 4px;
       padding: 0 5px; margin-left: 7px; }
.chart { width: 100%; }
.choice { font-size: 14px; color: var(--soft); margin: 8px 0 0; }
.choice select { font: inherit; padding: 3px 6px; border: 1px solid #c3cad3; border-radius: 6px;
                 background: #fff; max-width: 100%; }
pre { background: var(--back); border-radius: 8px; padding: 12px 14px; overflow: auto;
      font-size: 13px; max-height: 520px; }
details summary { cursor: pointer; font-weight: 600; font-size: 16px; }
footer { color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
@media print { body { background: #fff; }
  section { break-inside: avoid; border: 0; padding: 8px 0; }
  nav { display: none; } }
"""

SCRIPT = """
for (const box of document.querySelectorAll("div.chart")) {
  const chart = JSON.parse(document.getElementById(box.id + "-data").textContent);
  // Buttons are named one by one: plotly's own choice has one that sends the chart to a server.
  Plotly.newPlot(box, chart.data, chart.layout, {responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]});
  if (!chart.choices || chart.choices.length < 2) continue;
  const label = document.createElement("label"), select = document.createElement("select");
  label.className = "choice";
  label.append("Show ", select);
  for (const choice of chart.choices) {
    const text = document.createElement("textarea");
    text.innerHTML = choice.label;  // escaped for plotly: a textarea turns it back into plain text
    select.append(new Option(text.value));
  }
  select.onchange = () => {
    const choice = chart.choices[select.selectedIndex];
    Plotly.update(box, {visible: choice.visible}, choice.layout);
  };
  box.before(label);
}
"""
