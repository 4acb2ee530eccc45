"""The page as nodes, which the browser turns into elements: pure functions of what was read."""
