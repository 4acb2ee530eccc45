"""`peekaping-producer template`: writes a small service of the user's own, and shows it at work.

`project` contains the files of the service. They are no modules of this package, and have linter settings of their own.
"""
