"""One build told to a person: everything that is known of it, as HTML, Markdown or JSON.

gather     a build directory -> one `Report` (records)
signal     how much of the float model's signal is left behind every layer
sizes      what each layer weighs, and what it compresses to
figures    accuracy with its intervals
timings    profiles of this build's very bytes; stale ones are told
contract   the preprocessing in steps
snippets   how each artifact is loaded on its platform (snippets_python: the same in Python)
words      the phrases that every format shares
plots      matplotlib's pictures as inline SVG (svg); treemap lays tiles out
page       HTML, from page.html.jinja
markdown   for a pull request's comment
document   JSON
write      formats: which it is to be; the text, and its way into a file
"""
