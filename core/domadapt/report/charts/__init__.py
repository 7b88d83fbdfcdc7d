"""Static charts as inline SVG: no script, no dependency, coloured by the page's style sheet (light, dark, print)."""
