if __name__ != "segfoundry.modeling":
    raise ImportError("import this folder as 'segfoundry.modeling', not as a top-level package")
