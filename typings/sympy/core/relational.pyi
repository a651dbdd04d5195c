from sympy import Eq as Eq
from sympy import Ge as Ge
from sympy import Gt as Gt
from sympy import Le as Le
from sympy import Lt as Lt
from sympy import Ne as Ne
from sympy import Relational as Relational
