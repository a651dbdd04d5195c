from sympy import And as And
from sympy import Boolean as Boolean
from sympy import BooleanAtom as BooleanAtom
from sympy import BooleanFalse as BooleanFalse
from sympy import BooleanTrue as BooleanTrue
from sympy import Not as Not
from sympy import Or as Or
