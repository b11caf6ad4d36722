"""How the page looks: light, plain, one column. Classes are used by `page.py`, `scoreboard.py`, `charts.py`."""

CSS = """
:root { --ink: #1d2329; --muted: #66717d; --line: #e2e6ea; --blue: #1f77b4; --orange: #d66014; --paper: #fff; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 24px; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { margin: 0 0 12px; font-size: 26px; }
h2 { margin: 40px 0 8px; font-size: 20px; border-bottom: 1px solid var(--line); padding-bottom: 6px; }
h3 { margin: 20px 0 4px; font-size: 16px; }
h4 { margin: 12px 0 2px; font-size: 13px; font-weight: 600; }
.note { color: var(--muted); margin: 4px 0 12px; max-width: 80ch; }
.banner { background: #fff4e5; border-left: 4px solid var(--orange); padding: 8px 12px; margin: 8px 0; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 16px; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; min-width: 210px; }
.big { font-size: 28px; font-weight: 600; font-variant-numeric: tabular-nums; }
.small { font-size: 13px; }
.muted { color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--muted); font-size: 12px; vertical-align: bottom; }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); }
td { vertical-align: middle; overflow-wrap: break-word; max-width: 420px; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { white-space: normal; }
code { font-size: 12px; }
img { display: block; image-rendering: pixelated; border-radius: 4px; }
.blocks { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 16px 32px; }
.bar { height: 8px; min-width: 1px; border-radius: 2px; background: var(--line); }
.bar.out { background: var(--blue); }
.bar.dropped { background: var(--orange); }
.block td:last-child { width: 35%; }
.locked { color: var(--orange); font-weight: 600; }
svg.interval { width: 180px; height: 16px; display: block; }
svg.chart { width: 100%; max-width: 760px; height: auto; font-size: 11px; fill: var(--muted); }
.axis { stroke: var(--line); }
.mark { stroke: var(--orange); }
.whisker { stroke: var(--blue); stroke-width: 2; }
.dot { fill: var(--blue); }
.curve { fill: none; stroke-width: 1.5; }
polyline.text-loss { stroke: var(--blue); }
polyline.image-loss { stroke: var(--orange); }
text.text-loss { fill: var(--blue); }
text.image-loss { fill: var(--orange); }
details { margin-top: 12px; }
.wide { overflow-x: auto; }
.curve:not(.text-loss):not(.image-loss) { stroke: var(--blue); }
.left-out { margin: 8px 0; overflow-wrap: anywhere; }
.left-out img { float: left; margin: 0 8px 4px 0; max-width: 64px; }
.left-out::after { content: ""; display: block; clear: both; }
td pre { white-space: pre-wrap; font: inherit; margin: 0; }
dt { font-weight: 600; margin-top: 6px; }
dd { margin-left: 16px; color: var(--muted); }
"""
