"""The topology unified: own services as processes of one container, data services beside it."""
