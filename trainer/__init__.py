if __name__ != "segfoundry.trainer":
    raise ImportError("import this folder as 'segfoundry.trainer', not as a top-level package")
