"""The page's looks."""

CSS = """\
:root {
  color-scheme: light dark;
  --ink: #1c2330; --quiet: #5b6675; --paper: #ffffff; --soft: #f4f6f8; --rule: #d9dee5; --strong: #e7f3ec;
  --c0: #2563a8; --c1: #c2571a; --c2: #2f855a; --c3: #8b4fa8; --c4: #b0324f; --c5: #6b7280;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8ee; --quiet: #9aa5b4; --paper: #14181f; --soft: #1d232c; --rule: #343d4a; --strong: #1c3529;
    --c0: #6cacf0; --c1: #f0985c; --c2: #63c78f; --c3: #c792e0; --c4: #f07f98; --c5: #a3adba;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p, ul { max-width: 46rem; overflow-wrap: anywhere; }
p { margin: .75rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .55rem; border-bottom: 1px solid var(--rule); }
th { color: var(--quiet); font-weight: 600; vertical-align: bottom; }
td { vertical-align: top; white-space: nowrap; }
td:last-child:not(.figure) { white-space: normal; min-width: 13rem; max-width: 30rem; }
.figure { text-align: right; }
tr.strong td { background: var(--strong); font-weight: 600; }
pre { background: var(--soft); border-radius: 6px; padding: .75rem 1rem; margin: .5rem 0; overflow-x: auto;
  font: .85rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
details { border: 1px solid var(--rule); border-radius: 6px; margin: .5rem 0; padding: 0 1rem; }
summary { cursor: pointer; padding: .5rem 0; font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; }
figure p { margin: 0; font-size: .8rem; }
figcaption { font-size: .85rem; color: var(--quiet); margin-bottom: .25rem; }
svg { width: 100%; height: auto; display: block; }
.axis { fill: var(--quiet); font: 10px system-ui, sans-serif; }
.grid { stroke: var(--rule); stroke-width: 1; }
.ranges { max-width: 46rem; }
.claimed { fill: var(--strong); }
.reach { stroke: var(--c0); stroke-width: 4; stroke-linecap: round; }
.dot { fill: var(--c0); stroke: var(--paper); stroke-width: 1.5; }
.line { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
circle.line { fill: currentColor; }
.line-0 { stroke: var(--c0); color: var(--c0); } .line-1 { stroke: var(--c1); color: var(--c1); }
.line-2 { stroke: var(--c2); color: var(--c2); } .line-3 { stroke: var(--c3); color: var(--c3); }
.line-4 { stroke: var(--c4); color: var(--c4); } .line-5 { stroke: var(--c5); color: var(--c5); }
.key-0 { color: var(--c0); } .key-1 { color: var(--c1); } .key-2 { color: var(--c2); }
.key-3 { color: var(--c3); } .key-4 { color: var(--c4); } .key-5 { color: var(--c5); }
.sample { border-left: 3px solid var(--c4); padding-left: .9rem; margin: 1rem 0 1.5rem; }
.sample.right { border-color: var(--c2); }
.told { margin: 0; font-size: .85rem; color: var(--quiet); }
.prompt { background: none; padding: 0; color: var(--quiet); }
.browser { margin: 1rem 0; }
.browser .bar { display: flex; flex-wrap: wrap; gap: .5rem 1rem; font-size: .85rem; color: var(--quiet); }
.browser select, .browser input { font: inherit; color: var(--ink); background: var(--soft);
  border: 1px solid var(--rule); border-radius: 4px; padding: .2rem .35rem; max-width: 14rem; }
.browser p { max-width: none; margin: .5rem 0; }
.browser h4 { margin: 1rem 0 .5rem; font-size: .9rem; }
.columns { display: grid; grid-template-columns: minmax(10rem, 15rem) minmax(0, 1fr); gap: 1rem; }
.list { position: relative; max-height: 40rem; overflow-y: auto; border: 1px solid var(--rule);
  border-radius: 6px; align-self: start; }
.list [role=option] { padding: .4rem .6rem; border-bottom: 1px solid var(--rule); cursor: pointer;
  font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere; }
.list [role=option] .told { display: block; }
.list [aria-selected=true] { background: var(--strong); box-shadow: inset 3px 0 var(--c0); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr));
  gap: .75rem; }
.card { border-top: 3px solid var(--c3); min-width: 0; }
.card.right { border-color: var(--c2); } .card.wrong { border-color: var(--c4); }
.card.right b { color: var(--c2); } .card.wrong b { color: var(--c4); } .card.other b { color: var(--c3); }
.card pre { margin: .25rem 0; padding: .6rem .7rem; max-height: 24rem; overflow-y: auto; }
.card .think, .card .mark { color: var(--quiet); } .card .answer { font-weight: 700; }
.card .mark { opacity: .75; }
.changes { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; }
.changes td:last-child:not(.figure) { min-width: 0; }
@media (max-width: 48rem) { .columns { grid-template-columns: 1fr; } .list { max-height: 14rem; } }
@page { size: A4; margin: 12mm; }
@media print { /* nothing can be scrolled on paper: tables take what width there is and break their words */
  :root { color-scheme: light; --ink: #1c2330; --quiet: #5b6675; --paper: #ffffff; --soft: #f4f6f8;
    --rule: #d9dee5; --strong: #e7f3ec; }
  body { font-size: 9.5pt; }
  main { max-width: none; padding: 0; }
  p, ul { max-width: none; }
  .scroll, pre, .list, .card pre { overflow: visible; max-height: none; }
  table { font-size: 7.5pt; width: 100%; }
  th, td, td:last-child:not(.figure) { white-space: normal; overflow-wrap: anywhere; min-width: 0;
    max-width: none; padding: .2rem .3rem; }
  .figure { overflow-wrap: normal; }
  tr, figure, .sample { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; }
  .bar { display: none; }
}
"""
