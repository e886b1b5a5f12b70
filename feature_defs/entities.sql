-- What the features of the flights demo describe.

CREATE ENTITY carrier (carrier VARCHAR);

CREATE ENTITY airport (airport VARCHAR);

CREATE ENTITY plane (tailnum VARCHAR);

-- A pair of airports in one direction, whichever carrier flies it.
CREATE ENTITY route (origin VARCHAR, dest VARCHAR);
