def render(p): pass
