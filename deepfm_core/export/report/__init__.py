"""A run's report: one HTML file without outside requests, for light, dark and paper. Start with `page.report_html`."""
