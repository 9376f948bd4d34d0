"""The entry of the app, `streamlit run app/main.py`: import path, sidebar, and the page of the URL."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
# `streamlit run` puts app/ on the import path, where a module could shadow the standard library; we need the root.
sys.path[:] = [
    str(ROOT),
    *(entry for entry in tuple(sys.path) if Path(entry or ".").resolve() not in (ROOT, ROOT / "app")),
]

import streamlit as st  # noqa: E402 (needs the path above)

from app._private import keep_to_the_open_page  # noqa: E402
from app.shared import launch, run_status  # noqa: E402
from app.state import links, visitor  # noqa: E402
from app.widgets import layout  # noqa: E402
from app.widgets.text import show_error  # noqa: E402
from deepfm_core._log import fault  # noqa: E402
from deepfm_core._parallel import use_system_memory  # noqa: E402
from deepfm_core.errors import DeepFMError  # noqa: E402

VIEWS = ROOT / "app" / "views"
PAGES = (
    ("start", "Start", ":material/explore:"),
    ("data", "Data", ":material/table_view:"),
    ("train", "Train", ":material/model_training:"),
    ("performance", "Performance", ":material/monitoring:"),
    ("interactions", "Interactions", ":material/grid_on:"),
    ("examples", "Examples", ":material/scatter_plot:"),
    ("embeddings", "Embeddings", ":material/bubble_chart:"),
    ("score", "Score", ":material/fact_check:"),
    ("compare", "Compare", ":material/leaderboard:"),
    ("study", "Study", ":material/tune:"),
    ("runs", "Runs", ":material/history:"),
    ("learn", "Learn", ":material/school:"),
)


def main() -> None:
    """Draw the sidebar and the chosen page; start a worker if none is ready for the next run."""
    use_system_memory()
    keep_to_the_open_page()
    st.set_page_config(page_title="DeepFM Explorer", page_icon="🔷", layout="wide")
    pages = [
        st.Page(VIEWS / name / f"{name}.py", title=title, icon=icon, url_path=name, default=name == "start")
        for name, title, icon in PAGES
        if (VIEWS / name / f"{name}.py").exists()
    ]
    if visitor.has_page():
        path = VIEWS / "system" / "system.py"
        seen: Literal["visible", "hidden"] = "visible" if visitor.is_listed() else "hidden"
        pages.append(st.Page(path, title="System", icon=":material/dns:", url_path="system", visibility=seen))
    away = visitor.must_sign_in()
    chosen = st.navigation(pages, position="hidden" if away else "sidebar")
    if away:
        visitor.ask_to_sign_in()
        return
    links.arrive()
    layout.apply()
    try:
        links.follow(chosen.url_path)
        run_status.choose_runs()
        visitor.show_account()
        visitor.remember()  # before the page, since a page may end the script early
        chosen.run()
        launch.keep_worker()
    except DeepFMError as error:
        show_error(error)
    except Exception as error:
        if not fault("page failed", error):
            logging.getLogger("deepfm").exception("A page failed")
        st.error("Something unexpected happened on this page. Reload it; the server's log has the details.")


main()
