"""Sources of apps that run what `mnv2-export build` writes; `mnv2-export sample` copies them."""
