if __name__ != "segfoundry.datasets":
    raise ImportError("import this folder as 'segfoundry.datasets', not as a top-level package")
