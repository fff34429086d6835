if __name__ != "segfoundry.utils":
    raise ImportError("import this folder as 'segfoundry.utils', not as a top-level package")
