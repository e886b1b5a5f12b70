CREATE ENTITY spot (latitude DOUBLE, longitude REAL);
