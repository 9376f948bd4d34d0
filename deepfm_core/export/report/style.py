"""The report's look: colours for light, dark and paper, and the layout. The colours are those of the app."""

_LIGHT = """--paper:#fff;--ink:#1b252d;--muted:#59656d;--grid:#e6ebee;--line:#d5dce0;--soft:#f3f6f9;--accent:#0a6f82;
--fm:#3a58c3;--dnn:#9b4805;--up:#137738;--down:#9a3289;--cell:#eef1f2;--strong:#183f75;--weak:#e4f1f4"""
_DARK = """--paper:#0f1518;--ink:#e3e9ec;--muted:#9fadb6;--grid:#262f35;--line:#333d44;--soft:#181f24;--accent:#45bcd6;
--fm:#88a7fd;--dnn:#ec915c;--up:#5ac576;--down:#e087ce;--cell:#292c2d;--strong:#9de0e0;--weak:#273042"""

_SCRIPTS = """"Noto Sans","PingFang SC","Hiragino Sans","Microsoft YaHei","Noto Sans CJK SC","Apple Color Emoji",
"Segoe UI Emoji","Noto Color Emoji\""""
# Names may be in any script: what the usual systems bring for Chinese, Japanese, Korean and emoji.

CSS = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
{_SCRIPTS},sans-serif;-webkit-print-color-adjust:exact;print-color-adjust:exact}}
main{{max-width:1040px;margin:0 auto;padding:40px 24px 72px}}
h1{{font-size:2rem;line-height:1.2;letter-spacing:-.015em;margin:0 0 6px;text-wrap:balance}}
h2{{font-size:1.3rem;letter-spacing:-.01em;margin:52px 0 4px;padding-top:18px;border-top:1px solid var(--line)}}
h3{{font-size:1.02rem;margin:26px 0 2px}}
p{{margin:6px 0 12px;max-width:68ch}}
.lead{{font-size:1.12rem;max-width:62ch;margin:20px 0 18px}}
.quiet,figcaption,.axis{{color:var(--muted)}}
.quiet,figcaption{{font-size:.875rem}}
nav{{display:flex;flex-wrap:wrap;gap:4px 18px;margin:14px 0 0;font-size:.9rem}}
a{{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:3px}}
a:focus-visible{{outline:2px solid var(--accent);outline-offset:3px;border-radius:3px}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin:18px 0 8px}}
.tile{{background:var(--soft);border-radius:10px;padding:14px 16px}}
.tile b{{display:block;font-size:1.65rem;line-height:1.2;font-weight:650;font-variant-numeric:tabular-nums}}
.tile span{{display:block;font-size:.875rem;color:var(--muted)}}
.row{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:18px 36px;align-items:start}}
.wide{{grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr))}}
figure{{margin:14px 0 0;min-width:0;break-inside:avoid}}
figure h3{{margin:0 0 2px}}
figcaption{{margin-top:4px;max-width:60ch}}
svg{{display:block;width:100%;height:auto;overflow:hidden;font:12px system-ui,-apple-system,"Segoe UI",Roboto,
{_SCRIPTS},sans-serif}}
svg text{{fill:var(--muted);font-variant-numeric:tabular-nums}}
svg .say{{fill:var(--ink)}} svg .bold{{fill:var(--ink);font-weight:650}}
svg .on{{fill:var(--paper)}}
.grid{{stroke:var(--grid)}} .zero{{stroke:var(--muted)}}
.dash{{stroke:var(--muted);stroke-dasharray:4 4;fill:none}}
.train{{stroke:var(--muted);fill:none;stroke-width:1.75}}
.valid{{stroke:var(--accent);fill:none;stroke-width:2.25}}
.dot{{fill:var(--accent)}} .hollow{{fill:var(--paper);stroke:var(--accent);stroke-width:2}}
.span{{stroke:var(--accent);stroke-width:2.25;stroke-linecap:round}}
.faint{{opacity:.45}}
.model{{fill:var(--dnn)}}
.up{{fill:var(--up)}} .down{{fill:var(--down)}} .whole{{fill:var(--accent)}} .rest{{fill:var(--muted)}}
svg text.up-ink{{fill:var(--up)}} svg text.down-ink{{fill:var(--down)}}
.empty{{fill:none;stroke:var(--grid)}}
.scroll{{overflow-x:auto}}
table{{border-collapse:collapse;width:100%;font-size:.9rem;margin:10px 0}}
th{{text-align:start;font-weight:600;color:var(--muted);font-size:.82rem}}
th,td{{padding:7px 14px 7px 0;border-bottom:1px solid var(--grid);vertical-align:top}}
td.n,th.n{{text-align:end;font-variant-numeric:tabular-nums}}td.n{{white-space:nowrap}}
td small{{display:block;color:var(--muted);font-size:.82rem}}
tr{{break-inside:avoid}}
td svg{{min-width:110px!important}}
pre{{background:var(--soft);border-radius:10px;padding:14px 16px;overflow-x:auto;font-size:.83rem;line-height:1.5}}
code{{overflow-wrap:anywhere;font-family:ui-monospace,"Cascadia Mono",Menlo,Consolas,monospace;font-size:.92em}}
pre code{{font-size:1em;overflow-wrap:normal}}
.note{{border-inline-start:3px solid var(--dnn);padding:2px 0 2px 14px}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;font-size:.9rem;margin:10px 0}}
dt{{font-weight:600}} dd{{margin:0;color:var(--muted);max-width:70ch}}
.cells{{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:.82rem;color:var(--muted);margin:2px 0 8px}}
.columns{{columns:3 220px;column-gap:36px;font-size:.9rem;margin:10px 0;padding:0;list-style:none}}
.columns li{{display:flex;justify-content:space-between;gap:12px;border-bottom:1px solid var(--grid);padding:4px 0;
break-inside:avoid}} .columns b{{font-weight:600;font-variant-numeric:tabular-nums;text-align:end}}
@media (max-width:560px){{main{{padding:24px 16px 48px}}h1{{font-size:1.6rem}}dl{{grid-template-columns:1fr}}
dd{{margin-bottom:8px}}th,td{{padding-inline-end:9px}}}}
@media print{{@page{{margin:16mm 14mm}}body{{font-size:10pt}}main{{max-width:none;padding:0}}nav{{display:none}}
h1{{font-size:20pt}}h2{{margin-top:22px;padding-top:12px}}h2,h3,h3+.quiet{{break-after:avoid}}p,figcaption{{orphans:3;widows:3}}
.tiles{{grid-template-columns:repeat(4,1fr)}}.tile{{break-inside:avoid;padding:10px 12px}}.tile b{{font-size:15pt}}
.row{{grid-template-columns:1fr 1fr;gap:10px 22px}}figure>.scroll>svg{{max-height:118mm}}
svg{{min-width:0!important}}.scroll,pre{{overflow:visible}}
table{{font-size:8.5pt}}th,td{{padding:5px 9px 5px 0}}
pre{{white-space:pre-wrap;overflow-wrap:anywhere}}.tile{{border:1px solid
var(--line)}}}}
"""
