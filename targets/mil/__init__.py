"""A reference evaluator of Core ML's ML programs: any `.mlpackage` that is simple enough, anywhere.

Read in this order:

- `values`: the constants of a program, in the model file or in its weight file
- `package`: a `.mlpackage` on disk, every reference in it followed and checked
- `rules`: one function per operation, its parameters being the operation's own
- `features`: what goes in and comes out: images, arrays, class labels
- `program`: the interpreter
- `integers`: int8 layers computed as integers instead of between dequantize and quantize
- `lint`: what can be said of a program without running it

A package is untrusted input: nothing in it is executed but the operations that `rules` lists.
"""
