CREATE ENTITY everything ();
