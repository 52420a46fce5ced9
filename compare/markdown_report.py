"""summary.md"""
def write_markdown(path,*,summary,facts): pass
