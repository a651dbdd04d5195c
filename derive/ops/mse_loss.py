"""The mean squared error."""

from derive import Mean, define

op = define("mse_loss", "Mean squared error over every element.")
n, c = op.axes("n c")
x, target = op.input("x", n, c), op.input("target", n, c)

loss = op.let("loss", [], Mean((x[n, c] - target[n, c]) ** 2, n, c))

mse_loss = op.build(loss)
