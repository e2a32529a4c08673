# SPDX-License-Identifier: GPL-3.0-or-later
"""A crew whose work travels as it would to another machine, done here at once."""

import os
import pickle


class Couriers:
    """Does items in an empty current folder, from their pickles; what is made of them travels back."""

    def __init__(self, elsewhere):
        self.elsewhere = elsewhere
        self.names = []
        self.needs = []
        self.travelled = 0

    def in_order(self, do, items, needs=None):
        for item in items:
            self.names.append(item.name)
            self.needs.append(needs(item) if needs else 0)
            sent = pickle.dumps((do, item))
            here = os.getcwd()
            os.chdir(self.elsewhere)
            try:
                do, item = pickle.loads(sent)
                back = pickle.dumps(do(item))
            except Exception as error:  # noqa: BLE001  (it travels, too)
                raise pickle.loads(pickle.dumps(error)) from None
            finally:
                os.chdir(here)
            self.travelled = max(self.travelled, len(sent) + len(back))
            yield pickle.loads(back)
