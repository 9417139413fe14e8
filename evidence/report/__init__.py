"""Reports: Markdown for a pull request, one self-contained page, and the plots in it."""
